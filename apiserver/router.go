package apiserver

import (
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// target is what method and path ask for.
type target struct {
	path  string
	parts []string
	verb  string // as authorisation names it

	group, version, resource string // resource is empty for paths that are not resources
	namespace, name          string
	subresource, tail        string // tail: what follows the subresource, without the slash

	selector fields.Selector // of what is about many objects; nil: there is none, or it cannot be read, which is found out later
	selected string          // the one name that it leaves
}

func (t target) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: t.group, Version: t.version, Resource: t.resource}
}

// parseTarget reads the path. It knows the API's shape, not what is served.
func parseTarget(req *http.Request) target {
	t := target{path: req.URL.Path, verb: strings.ToLower(req.Method)}
	t.parts = strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	var rest []string
	switch {
	case t.parts[0] == "api" && len(t.parts) > 2:
		t.version, rest = t.parts[1], t.parts[2:]
	case t.parts[0] == "apis" && len(t.parts) > 3:
		t.group, t.version, rest = t.parts[1], t.parts[2], t.parts[3:]
	default:
		return t
	}
	watch := rest[0] == "watch" && len(rest) > 1
	if watch { // the old form of ?watch=true
		rest = rest[1:]
	}
	t.parseResource(rest)
	t.verb = t.resourceVerb(req, watch)
	t.parseSelector(req)
	return t
}

func (t *target) parseResource(rest []string) {
	if rest[0] == "namespaces" && len(rest) > 2 && rest[2] != "status" && rest[2] != "finalize" {
		t.namespace, rest = rest[1], rest[2:]
	}
	t.resource = rest[0]
	if len(rest) > 1 {
		t.name = rest[1]
	}
	if len(rest) > 2 {
		t.subresource = rest[2]
		t.tail = strings.Join(rest[3:], "/")
	}
	// A namespace is in itself, for those who may only do something in it.
	if t.resource == "namespaces" && t.group == "" && t.name != "" {
		t.namespace = t.name
	}
}

// parseSelector reads what authorisation must know of the selector of a request for many objects.
func (t *target) parseSelector(req *http.Request) {
	if t.name != "" || !strings.Contains(req.URL.RawQuery, "fieldSelector=") || t.verb != "list" && t.verb != "watch" && t.verb != "deletecollection" {
		return
	}
	selector, err := fields.ParseSelector(req.URL.Query().Get("fieldSelector"))
	if err != nil {
		return
	}
	t.selector = selector
	t.selected, _ = selector.RequiresExactMatch("metadata.name")
}

func (t *target) resourceVerb(req *http.Request, watch bool) string {
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		switch wish := req.URL.Query().Get("watch"); {
		case watch:
			return "watch"
		case t.name != "":
			return "get"
		case wish == "true" || wish == "1":
			return "watch"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if t.name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(req.Method)
}

// dispatch is the end of every request's way.
func (s *Server) dispatch(w http.ResponseWriter, req *http.Request) {
	x := exchangeOf(req)
	if x.target.resource == "" {
		s.servePath(w, req, x.target)
		return
	}
	select {
	case <-s.loaded:
	case <-req.Context().Done():
		return
	case <-s.stopping:
		rest.WriteError(w, req, apierrors.NewServiceUnavailable("the server is stopping"))
		return
	}
	t := x.target
	kind := x.kind
	if kind == nil {
		rest.WriteError(w, req, notFound())
		return
	}
	if kind.Storage == registry.Proxied {
		kind.Proxy.ServeHTTP(w, req)
		return
	}
	call := &x.call
	call.User, call.Verb, call.Kind, call.Namespace, call.Name, call.Path = x.user, t.verb, kind, t.namespace, t.name, t.tail
	if !kind.Namespaced {
		if t.namespace != "" && (t.resource != "namespaces" || t.group != "") {
			rest.WriteError(w, req, notFound())
			return
		}
		call.Namespace = ""
	}
	if t.subresource != "" {
		call.Sub = x.sub
		if call.Sub == nil || (t.tail != "" && call.Sub.Stream == "") {
			rest.WriteError(w, req, notFound())
			return
		}
	}
	if wrongShape(t, kind.Namespaced) {
		rest.WriteError(w, req, methodNotAllowed(req))
		return
	}
	s.rest.Serve(w, req, call)
}

// wrongShape finds verbs on paths that cannot have them, such as a creation with a name or without a namespace.
func wrongShape(t target, namespaced bool) bool {
	switch t.verb {
	case "create":
		return (t.name != "" && t.subresource == "") || (namespaced && t.namespace == "")
	case "get", "update", "patch", "delete":
		return t.name == "" || (namespaced && t.namespace == "")
	}
	return false
}

func notFound() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

func methodNotAllowed(req *http.Request) error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, strings.ToLower(req.Method), schema.GroupResource{}, "", "", 0, false)
}

// servePath answers what is not a resource: health, version, figures, documents.
func (s *Server) servePath(w http.ResponseWriter, req *http.Request, t target) {
	readOnly := []string{"version", "livez", "readyz", "healthz", "metrics", "openapi", ".well-known", "openid", ""}
	if req.Method != http.MethodGet && req.Method != http.MethodHead && slices.Contains(readOnly, t.parts[0]) {
		rest.WriteError(w, req, methodNotAllowed(req))
		return
	}
	switch t.parts[0] {
	case "version":
		serveVersion(w)
	case "livez", "readyz", "healthz":
		s.serveHealth(w, req, t)
	case "metrics":
		s.metrics.Handler().ServeHTTP(w, req)
	case "openapi":
		s.openapi.ServeHTTP(w, req)
	case ".well-known", "openid":
		s.serveOpenID(w, req)
	case "api", "apis":
		if req.Method == http.MethodGet && s.documents.Serve(w, req) {
			return
		}
		rest.WriteError(w, req, notFound())
	case "":
		s.servePaths(w)
	default:
		rest.WriteError(w, req, notFound())
	}
}
