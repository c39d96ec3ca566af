// Package admission holds the checks and changes that depend on more than the object itself: on the namespace it goes
// to, the account it runs as, the addresses that are free.
//
// What an object must look like in itself is kinds' business. Start with Pipeline, then Default in table.go: its rows, in order.
package admission

import (
	"context"
	"slices"

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

// Request is one write on its way to the store, or one stream on its way to a node.
type Request struct {
	Operation   Operation
	Kind        *registry.Kind
	Subresource string
	Namespace   string
	Name        string          // empty while a name is still to be generated
	Object      registry.Object // what will be stored; nil for Delete and Connect. Mutating plugins may change or replace it.
	Old         registry.Object // what is stored; nil for Create. Read-only.
	Body        runtime.Object  // of subresources that are not the object itself: a Binding, a TokenRequest, a stream's options
	User        authn.User
	DryRun      bool
	Warn        func(string) // adds a warning to the answer; never nil

	again, second bool
	// undo is run when the write fails after admission, done when it is stored.
	undo, done []func()
}

// Reinvoke asks for the mutating stage to be run once more after its end: a plugin that others can build on has changed the object.
func (r *Request) Reinvoke() { r.again = true }

// Reinvoked is true while the mutating stage runs for the second time. What a plugin did in the first run is there already.
func (r *Request) Reinvoked() bool { return r.second }

// OnFailure registers what gives back something taken for a write that then did not happen. It is for allocating plugins.
func (r *Request) OnFailure(f func()) { r.undo = append(r.undo, f) }

// OnStored registers what is to be done once the write has been stored. It is for allocating plugins.
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
	// List returns all objects of a namespace ("": of all namespaces) in key order.
	List(resource schema.GroupVersionResource, namespace string) []registry.Object
	// Live is as fresh as a quorum read, for when Get has not caught up yet.
	Live(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error)
}

// Plugin is one row of a stage. Errors are API status errors.
type Plugin struct {
	Name  string
	On    []Operation // what it looks at; nil: everything but Connect
	Admit func(ctx context.Context, req *Request) error
}

func (p *Plugin) wants(op Operation) bool {
	if p.On == nil {
		return op != Connect
	}
	return slices.Contains(p.On, op)
}

// Pipeline is the table of stages. A write passes Mutating; then the kind prepares the object (what a client may not say is dropped); then
// it passes Allocating, the kind's own validation, and Validating; then it is stored. A delete and a stream have no object to change, and pass
// Mutating and Validating alone.
type Pipeline struct {
	// Mutating plugins change what is asked for. They must bear to be run twice.
	Mutating []Plugin
	// Allocating plugins take what the cluster has but once (addresses, ports), for the object as it will be. They run once for each try to
	// store, and register with the Request how to give back.
	Allocating []Plugin
	// Validating plugins see the final object, and refuse or do nothing.
	Validating []Plugin
	// Removed are told of every object that has left the store.
	Removed []func(kind *registry.Kind, obj registry.Object)
}

// Mutate runs the first stage, and once more if a plugin asked for it.
func (p *Pipeline) Mutate(ctx context.Context, req *Request) error {
	if err := run(ctx, p.Mutating, req); err != nil || !req.again {
		return err
	}
	req.again, req.second = false, true
	defer func() { req.again, req.second = false, false }()
	return run(ctx, p.Mutating, req)
}

// Allocate runs the second stage.
func (p *Pipeline) Allocate(ctx context.Context, req *Request) error {
	return run(ctx, p.Allocating, req)
}

// Validate runs the last stage.
func (p *Pipeline) Validate(ctx context.Context, req *Request) error {
	return run(ctx, p.Validating, req)
}

// Gone tells of an object that has left the store.
func (p *Pipeline) Gone(kind *registry.Kind, obj registry.Object) {
	for _, tell := range p.Removed {
		tell(kind, obj)
	}
}

func run(ctx context.Context, stage []Plugin, req *Request) error {
	for i := range stage {
		if !stage[i].wants(req.Operation) {
			continue
		}
		if err := stage[i].Admit(ctx, req); err != nil {
			return err
		}
	}
	return nil
}
