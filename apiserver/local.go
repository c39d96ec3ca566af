package apiserver

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// typeIndex finds the row of a typed object, which usually does not carry its kind.
type typeIndex map[reflect.Type]*registry.Kind

func newTypes(snapshot *registry.Snapshot) (typeIndex, error) {
	out := typeIndex{}
	for _, kind := range snapshot.Kinds() {
		if kind.New != nil && !kind.Untyped {
			out[reflect.TypeOf(kind.New())] = kind
		}
	}
	return out, nil
}

// Local is the API for one identity inside this process: the same authorisation, admission, validation and record of fields
// as over HTTP, without connections and encodings. Objects passed in are not kept or changed; objects returned are the caller's.
type Local struct {
	s       *Server
	user    authn.User
	manager string
}

// As returns the door of an identity.
func (s *Server) As(user authn.User) *Local {
	if !user.In(authn.GroupAuthenticated) {
		user.Groups = append(append([]string{}, user.Groups...), authn.GroupAuthenticated)
	}
	return &Local{s: s, user: user, manager: user.Name[strings.LastIndexByte(user.Name, ':')+1:]}
}

// call authorises a verb and makes the call for it.
func (l *Local) call(ctx context.Context, verb string, kind *registry.Kind, namespace, name, subresource string) (*rest.Call, error) {
	c := &rest.Call{
		User: l.user, Verb: verb, Kind: kind, Namespace: namespace, Name: name, Manager: l.manager,
		Strictness: metav1.FieldValidationIgnore, Warn: func(string) {},
	}
	if subresource != "" {
		if c.Sub = kind.Subresource(subresource); c.Sub == nil {
			return nil, notFound()
		}
	}
	return c, l.s.alsoMay(ctx, c, verb)
}

// alsoMay authorises a verb on what the call is about.
func (s *Server) alsoMay(ctx context.Context, c *rest.Call, verb string) error {
	question := authz.Request{
		User: c.User, Verb: verb, Namespace: c.Namespace, Group: c.Kind.GVK.Group, Version: c.Kind.GVK.Version,
		Resource: c.Kind.Resource, Name: c.Name,
	}
	if c.Sub != nil {
		question.Subresource = c.Sub.Name
	}
	return authz.May(ctx, s.may, question)
}

func (l *Local) kindOf(obj runtime.Object) (*registry.Kind, error) {
	now := l.s.registry.Current()
	var kind *registry.Kind
	if _, untyped := obj.(*unstructured.Unstructured); untyped {
		kind = now.ByKind(obj.GetObjectKind().GroupVersionKind())
	} else if types, err := l.s.types.Of(now); err == nil {
		kind = types[reflect.TypeOf(obj)]
	}
	if kind == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%T is not a kind that is served", obj))
	}
	return kind, nil
}

func (l *Local) kindFor(resource schema.GroupVersionResource) (*registry.Kind, error) {
	kind := l.s.registry.Current().ByResource(resource)
	if kind == nil {
		return nil, notFound()
	}
	return kind, nil
}

func own(result *rest.Result, err error) (registry.Object, error) {
	if err != nil {
		return nil, rest.StatusError(err)
	}
	return result.Object.DeepCopyObject().(registry.Object), nil
}

// Create stores a new object.
func (l *Local) Create(ctx context.Context, obj registry.Object) (registry.Object, error) {
	kind, err := l.kindOf(obj)
	if err != nil {
		return nil, err
	}
	c, err := l.call(ctx, "create", kind, obj.GetNamespace(), "", "")
	if err != nil {
		return nil, err
	}
	return own(l.s.rest.Create(ctx, c, obj.DeepCopyObject().(registry.Object)))
}

// Update replaces an object.
func (l *Local) Update(ctx context.Context, obj registry.Object) (registry.Object, error) {
	return l.update(ctx, obj, "")
}

// UpdateStatus replaces an object's status.
func (l *Local) UpdateStatus(ctx context.Context, obj registry.Object) (registry.Object, error) {
	return l.update(ctx, obj, "status")
}

// UpdateSub puts an object through another of its subresources, such as a namespace's finalize.
func (l *Local) UpdateSub(ctx context.Context, obj registry.Object, subresource string) (registry.Object, error) {
	return l.update(ctx, obj, subresource)
}

func (l *Local) update(ctx context.Context, obj registry.Object, subresource string) (registry.Object, error) {
	kind, err := l.kindOf(obj)
	if err != nil {
		return nil, err
	}
	c, err := l.call(ctx, "update", kind, obj.GetNamespace(), obj.GetName(), subresource)
	if err != nil {
		return nil, err
	}
	return own(l.s.rest.Update(ctx, c, obj))
}

// Patch changes an object, or a subresource of it.
func (l *Local) Patch(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, subresources ...string) (registry.Object, error) {
	kind, err := l.kindFor(resource)
	if err != nil {
		return nil, err
	}
	c, err := l.call(ctx, "patch", kind, namespace, name, strings.Join(subresources, "/"))
	if err != nil {
		return nil, err
	}
	// A loop applies what it owns; whoever set it before gives way.
	return own(l.s.rest.Patch(ctx, c, patch.Patch{Type: pt, Data: data}, true))
}

// Delete removes an object, or marks it as being deleted.
func (l *Local) Delete(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, options metav1.DeleteOptions) error {
	kind, err := l.kindFor(resource)
	if err != nil {
		return err
	}
	c, err := l.call(ctx, "delete", kind, namespace, name, "")
	if err != nil {
		return err
	}
	c.DryRun = len(options.DryRun) > 0
	_, err = l.s.rest.Delete(ctx, c, options)
	return rest.StatusError(err)
}

// CreateSub posts to a subresource and returns the server's answer.
func (l *Local) CreateSub(ctx context.Context, resource schema.GroupVersionResource, namespace, name, subresource string, body runtime.Object) (runtime.Object, error) {
	kind, err := l.kindFor(resource)
	if err != nil {
		return nil, err
	}
	c, err := l.call(ctx, "create", kind, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	answer, err := l.s.rest.Post(ctx, c, body.DeepCopyObject())
	return answer, rest.StatusError(err)
}

// Get reads an object, as fresh as a quorum read.
func (l *Local) Get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error) {
	kind, err := l.kindFor(resource)
	if err != nil {
		return nil, err
	}
	c, err := l.call(ctx, "get", kind, namespace, name, "")
	if err != nil {
		return nil, err
	}
	return own(l.s.rest.Get(ctx, c, ""))
}

// Table is the memory of a resource, or nil. Its entries are in the storage version: ask for the resource that is stored. Reading it is
// not authorised object by object; who has a Local has the process.
func (l *Local) Table(resource schema.GroupVersionResource) *cache.Table {
	kind := l.s.registry.Current().ByResource(resource)
	if kind == nil {
		return nil
	}
	return l.s.rest.Rows(kind)
}
