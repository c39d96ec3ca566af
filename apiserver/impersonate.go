package apiserver

import (
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// The headers by which somebody asks to act as somebody else (kubectl --as).
const (
	asUser  = "Impersonate-User"
	asGroup = "Impersonate-Group"
	asUID   = "Impersonate-Uid"
)

// impersonate lets those who may act as others do so. A wish that is not granted fails the request: to go on under the caller's own
// name would do with all its rights what was meant to be tried with less.
func (s *Server) impersonate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, groups := req.Header.Get(asUser), req.Header.Values(asGroup)
		if name == "" && len(groups) == 0 && req.Header.Get(asUID) == "" {
			next.ServeHTTP(w, req)
			return
		}
		if name == "" {
			rest.WriteError(w, req, apierrors.NewBadRequest("groups and uid were asked for without a user to impersonate"))
			return
		}
		x := exchangeOf(req)
		for _, question := range impersonations(x.user, name, groups) {
			if allowed, reason := s.config.Authorizer.Authorize(req.Context(), question); !allowed {
				rest.WriteError(w, req, authz.Forbidden(question, reason))
				return
			}
		}
		x.user = authn.User{Name: name, UID: req.Header.Get(asUID), Groups: impersonatedGroups(name, groups)}
		for _, header := range []string{asUser, asGroup, asUID} {
			req.Header.Del(header)
		}
		next.ServeHTTP(w, req)
	})
}

// impersonations are the questions that must all be answered with yes.
func impersonations(user authn.User, name string, groups []string) []authz.Request {
	ask := func(resource, namespace, name string) authz.Request {
		return authz.Request{User: user, Verb: "impersonate", Version: "v1", Resource: resource, Namespace: namespace, Name: name}
	}
	var out []authz.Request
	if namespace, account, ok := accountOf(name); ok {
		out = append(out, ask("serviceaccounts", namespace, account))
	} else {
		out = append(out, ask("users", "", name))
	}
	for _, group := range groups {
		out = append(out, ask("groups", "", group))
	}
	return out
}

func accountOf(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}

// impersonatedGroups are the groups asked for and those that the name alone puts somebody in.
func impersonatedGroups(name string, groups []string) []string {
	out := append([]string{}, groups...)
	if namespace, _, ok := accountOf(name); ok && len(groups) == 0 {
		out = append(out, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	if name == "system:anonymous" {
		return append(out, authn.GroupUnauthenticated)
	}
	return append(out, authn.GroupAuthenticated)
}
