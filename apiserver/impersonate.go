package apiserver

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
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
	asExtra = "Impersonate-Extra-" // and the key, percent-encoded
)

// impersonate lets those who may act as others do so. A wish that is not granted fails the request: to go on under the caller's own
// name would do with all its rights what was meant to be tried with less.
func (s *Server) impersonate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		wish, asked := wishes(req.Header)
		if !asked {
			next.ServeHTTP(w, req)
			return
		}
		if wish.Name == "" {
			rest.WriteError(w, req, apierrors.NewBadRequest("groups, a uid or extra values were asked for without a user to impersonate"))
			return
		}
		x := exchangeOf(req)
		for _, question := range impersonations(x.user, wish) {
			if err := authz.May(req.Context(), s.may, question); err != nil {
				rest.WriteError(w, req, err)
				return
			}
		}
		wish.Groups = impersonatedGroups(wish.Name, wish.Groups)
		x.user = wish
		for header := range req.Header {
			if strings.HasPrefix(header, "Impersonate-") {
				req.Header.Del(header)
			}
		}
		next.ServeHTTP(w, req)
	})
}

// wishes reads whom a request is to be done as. Header names come in their canonical form; the keys of extra values are lower-case.
func wishes(headers http.Header) (wish authn.User, asked bool) {
	wish = authn.User{Name: headers.Get(asUser), UID: headers.Get(asUID), Groups: headers.Values(asGroup)}
	for header, values := range headers {
		encoded, ok := strings.CutPrefix(header, asExtra)
		if !ok {
			continue
		}
		if wish.Extra == nil {
			wish.Extra = map[string][]string{}
		}
		key := strings.ToLower(encoded)
		if decoded, err := url.PathUnescape(key); err == nil {
			key = decoded
		}
		wish.Extra[key] = append(wish.Extra[key], values...)
	}
	return wish, wish.Name != "" || wish.UID != "" || len(wish.Groups) > 0 || len(wish.Extra) > 0
}

// impersonations are the questions that must all be answered with yes.
func impersonations(user, wish authn.User) []authz.Request {
	ask := func(group, resource, subresource, namespace, name string) authz.Request {
		return authz.Request{
			User: user, Verb: "impersonate", Group: group, Version: "v1",
			Resource: resource, Subresource: subresource, Namespace: namespace, Name: name,
		}
	}
	var out []authz.Request
	if namespace, account, ok := accountOf(wish.Name); ok {
		out = append(out, ask("", "serviceaccounts", "", namespace, account))
	} else {
		out = append(out, ask("", "users", "", "", wish.Name))
	}
	for _, group := range wish.Groups {
		out = append(out, ask("", "groups", "", "", group))
	}
	if wish.UID != "" {
		out = append(out, ask(authenticationv1.GroupName, "uids", "", "", wish.UID))
	}
	for _, key := range slices.Sorted(maps.Keys(wish.Extra)) {
		for _, value := range wish.Extra[key] {
			out = append(out, ask(authenticationv1.GroupName, "userextras", key, "", value))
		}
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
