// Package authz decides what an identity may do. It is asked once per request, with everything about the request that
// matters; it never looks at bodies.
//
// Several authorizers are asked in turn; each allows, denies, or has no opinion. Start with Authorizer, then Default in chain.go.
package authz

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
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
	Name        string // of list, watch and deletecollection too, if their field selector names one
	Path        string
	Selector    fields.Selector // of list, watch and deletecollection; nil: everything
}

// Decision is what one authorizer says of a request.
type Decision int

// The decisions. An authorizer that does not know the request has no opinion; what nobody allows is refused.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

// String returns the decision in words.
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "no opinion"
}

// Authorizer decides. The reason explains the decision to the client; it may be empty. An error says that the authorizer could
// not find out (its peer is away, say), and comes with NoOpinion or, if it must not be passed over, with Deny. It may block for
// as long as ctx lasts, and is called from many goroutines.
type Authorizer interface {
	Authorize(ctx context.Context, req Request) (decision Decision, reason string, err error)
}

// Func is an Authorizer made of a function.
type Func func(ctx context.Context, req Request) (Decision, string, error)

// Authorize implements Authorizer.
func (f Func) Authorize(ctx context.Context, req Request) (Decision, string, error) {
	return f(ctx, req)
}

// May asks for a yes: nil, or the status error that the client gets. A request that nobody allowed is an internal error when an
// authorizer failed, because the one that failed might have allowed it.
func May(ctx context.Context, a Authorizer, req Request) error {
	decision, reason, err := a.Authorize(ctx, req)
	switch {
	case decision == Allow:
		return nil
	case err != nil && decision == NoOpinion:
		return apierrors.NewInternalError(fmt.Errorf("authorize: %w", err))
	}
	return Forbidden(req, reason)
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
