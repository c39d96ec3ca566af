// Package authz decides what an identity may do. It is asked once per request, with everything about the request that
// matters; it never looks at bodies.
//
// Start with Authorizer and the table in rules.go.
package authz

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/authn"
)

// Request is what is to be decided.
type Request struct {
	User        authn.User
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection; lower-case HTTP method for paths
	Namespace   string
	Group       string
	Version     string
	Resource    string // empty: Path alone is asked for
	Subresource string
	Name        string
	Path        string
}

// Authorizer decides. The reason explains a refusal, for the client; it may be empty.
type Authorizer interface {
	Authorize(ctx context.Context, req Request) (allowed bool, reason string)
}

// Forbidden is the answer to a refused request, in the words that clients know.
func Forbidden(req Request, reason string) error {
	msg := describe(req)
	if reason != "" {
		msg += ": " + reason
	}
	gr := schema.GroupResource{Group: req.Group, Resource: req.Resource}
	return apierrors.NewForbidden(gr, req.Name, fmt.Errorf("%s", msg))
}

func describe(req Request) string {
	if req.Resource == "" {
		return fmt.Sprintf("User %q cannot %s path %q", req.User.Name, req.Verb, req.Path)
	}
	resource := req.Resource
	if req.Subresource != "" {
		resource += "/" + req.Subresource
	}
	if req.Namespace != "" {
		return fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q",
			req.User.Name, req.Verb, resource, req.Group, req.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope",
		req.User.Name, req.Verb, resource, req.Group)
}
