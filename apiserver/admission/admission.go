// Package admission holds the checks and changes that depend on more than the object itself: on the namespace it goes
// to, the account it runs as, the addresses that are free.
//
// What an object must look like in itself is kinds' business. Start with Default in table.go: the ordered list of plugins.
package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Operation is what is being done.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Request is one write on its way to the store.
type Request struct {
	Operation   Operation
	Kind        *registry.Kind
	Subresource string
	Namespace   string
	Name        string
	Object      registry.Object // what will be stored; nil for Delete and Connect. Mutate may change it.
	Old         registry.Object // what is stored; nil for Create. Read-only.
	Body        runtime.Object  // of subresources that are not object-shaped (Binding, TokenRequest)
	User        authn.User
	DryRun      bool
	Warn        func(string) // adds a warning to the answer; never nil

	// undo is run when the write fails after admission, done when it is stored. Plugins that take something add to them.
	undo, done []func()
}

// OnFailure registers what gives back something taken for a write that then did not happen.
func (r *Request) OnFailure(f func()) { r.undo = append(r.undo, f) }

// OnStored registers what is to be done once the write has been stored.
func (r *Request) OnStored(f func()) { r.done = append(r.done, f) }

// Finish runs what plugins registered.
func (r *Request) Finish(stored bool) {
	list := r.undo
	if stored {
		list = r.done
	}
	for _, f := range list {
		f()
	}
	r.undo, r.done = nil, nil
}

// GVR names the resource.
func (r *Request) GVR() schema.GroupVersionResource { return r.Kind.GVR() }

// is compares group and resource; the version does not matter to any plugin.
func (r *Request) is(group, resource string) bool {
	return r.Kind.GVK.Group == group && r.Kind.Resource == resource
}

// Reader reads what plugins base their decisions on, from memory. Objects are shared and read-only; nil: there is none.
type Reader interface {
	Get(resource schema.GroupVersionResource, namespace, name string) registry.Object
	// Live is as fresh as a quorum read, for when Get has not caught up yet.
	Live(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error)
}

// Plugin is one row of the table. Mutate runs before validation, in table order; Validate after it, in table order. Either may be nil.
// Errors are API status errors.
type Plugin struct {
	Name     string
	Mutate   func(ctx context.Context, req *Request) error
	Validate func(ctx context.Context, req *Request) error
	// Removed is told of every object that has left the store. It may be nil too.
	Removed func(kind *registry.Kind, obj registry.Object)
}

// Chain is the ordered table.
type Chain []Plugin

// Mutate runs the first half of every plugin.
func (c Chain) Mutate(ctx context.Context, req *Request) error {
	for i := range c {
		if c[i].Mutate != nil {
			if err := c[i].Mutate(ctx, req); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate runs the second half of every plugin.
func (c Chain) Validate(ctx context.Context, req *Request) error {
	for i := range c {
		if c[i].Validate != nil {
			if err := c[i].Validate(ctx, req); err != nil {
				return err
			}
		}
	}
	return nil
}

// Removed tells every plugin of an object that has left the store.
func (c Chain) Removed(kind *registry.Kind, obj registry.Object) {
	for i := range c {
		if c[i].Removed != nil {
			c[i].Removed(kind, obj)
		}
	}
}
