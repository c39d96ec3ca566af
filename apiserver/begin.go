package apiserver

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/kinds/scheduling"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// self is who the server's own first writes are by.
func self() authn.User {
	return authn.User{Name: "system:apiserver", Groups: []string{"system:masters", authn.GroupAuthenticated}}
}

// systemObjects exist in every cluster.
func systemObjects() []registry.Object {
	var out []registry.Object
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for _, class := range scheduling.SystemPriorityClasses() {
		out = append(out, class)
	}
	return out
}

// begin makes what every client counts on, then declares the server ready and waits for the end.
func (s *Server) begin(ctx context.Context) error {
	select {
	case <-s.cache.Ready():
	case <-ctx.Done():
		return nil
	}
	s.adopt()
	close(s.loaded)
	door := s.As(self())
	var made sync.WaitGroup // together, so that the store commits them at once
	for _, obj := range systemObjects() {
		made.Go(func() { s.ensure(ctx, door, obj) })
	}
	made.Wait()
	if ctx.Err() != nil {
		return nil
	}
	close(s.ready)
	<-ctx.Done()
	return nil
}

// ensure makes a cluster-scoped object unless it is there. It tries until it is, or ctx ends.
func (s *Server) ensure(ctx context.Context, door *Local, obj registry.Object) {
	kind, err := door.kindOf(obj)
	if err != nil {
		return // a server with a table of its own may not serve it
	}
	for s.rest.Cached(kind.GVR(), "", obj.GetName()) == nil {
		_, err := door.Create(ctx, obj)
		if err == nil || apierrors.IsAlreadyExists(err) || ctx.Err() != nil {
			return
		}
		s.config.Logger.Warn("create a system object", "kind", kind.GVK.Kind, "name", obj.GetName(), "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// adopt tells the allocator what the stored Services hold.
func (s *Server) adopt() {
	if s.config.Services == nil {
		return
	}
	table := s.rest.Rows(s.registry.Current().ByResource(coreResource("services")))
	table.Snapshot().Ascend("", "", func(e cache.Entry) bool {
		svc, ok := e.Object().(*corev1.Service)
		if !ok {
			return true
		}
		for _, problem := range s.config.Services.Adopt(svc) {
			s.config.Logger.Warn("a stored service holds what it should not", "service", e.Key(), "err", problem)
		}
		return true
	})
}

// reader lets admission read through the service.
type reader struct{ rest *rest.Service }

var _ admission.Reader = reader{}

func (r reader) Get(resource schema.GroupVersionResource, namespace, name string) registry.Object {
	return r.rest.Cached(resource, namespace, name)
}

func (r reader) Live(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error) {
	return r.rest.Live(ctx, resource, namespace, name)
}

// endpoints are the EndpointSlices of a Service, as the proxy to its pods wants them.
func (s *Server) endpoints(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	var out []*discoveryv1.EndpointSlice
	err := s.rest.Each(ctx, discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), namespace, func(obj registry.Object) {
		if slice := obj.(*discoveryv1.EndpointSlice); slice.Labels[discoveryv1.LabelServiceName] == service {
			out = append(out, slice)
		}
	})
	return out, err
}

func (r reader) List(resource schema.GroupVersionResource, namespace string) []registry.Object {
	return r.rest.CachedList(resource, namespace)
}
