package kubetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/cuppa-project/cuppa/kube"
)

// Fault says which writes fail, and how.
type Fault struct {
	Verb     string // create, update, patch, delete, or one with a subresource: "update status"; "": any
	Resource string // "pods"; "": any
	Nth      int    // which of the writes that fit, from 1; 0: all of them
	Err      error
	// Late lets the write happen before it fails: an answer that got lost.
	Late bool
}

// Interceptor is a Cluster all of whose writes are noted, and of which some fail.
type Interceptor struct {
	kube.Cluster
	flight sync.RWMutex // held for reading by each write from its beginning to its line in the log
	mu     sync.Mutex
	faults []*fault
	log    []string
}

type fault struct {
	Fault
	seen int
}

// Intercept stands between a cluster and who writes to it.
func Intercept(c kube.Cluster, faults ...Fault) *Interceptor {
	i := &Interceptor{Cluster: c}
	i.Fail(faults...)
	return i
}

// Fail makes writes fail from now on, as well as those that do already.
func (i *Interceptor) Fail(faults ...Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, f := range faults {
		i.faults = append(i.faults, &fault{Fault: f})
	}
}

// Heal lets all writes through.
func (i *Interceptor) Heal() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = nil
}

// Log returns the writes since the last call, one a line, with what became of them. It waits for those that are under way, whose effects may be
// seen already.
func (i *Interceptor) Log() string {
	i.flight.Lock()
	defer i.flight.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	out := strings.Join(i.log, "\n")
	i.log = nil
	return out
}

// write carries one write out, unless it fails.
func (i *Interceptor) write(verb, resource, name string, do func() error) error {
	i.flight.RLock()
	defer i.flight.RUnlock()
	i.mu.Lock()
	var hit *fault
	for _, f := range i.faults {
		if (f.Verb != "" && f.Verb != verb) || (f.Resource != "" && f.Resource != resource) {
			continue
		}
		if f.seen++; hit == nil && (f.Nth == 0 || f.Nth == f.seen) {
			hit = f
		}
	}
	i.mu.Unlock()
	var err error
	if hit == nil || hit.Late {
		err = do()
	}
	if hit != nil && err == nil {
		err = hit.Err
	}
	line := verb + " " + resource + " " + name
	if err != nil {
		line += ": " + outcome(err)
	}
	i.mu.Lock()
	i.log = append(i.log, line)
	i.mu.Unlock()
	return err
}

// outcome is the reason of an error, which stays the same from run to run.
func outcome(err error) string {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return string(reason)
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

func (i *Interceptor) object(verb string, obj kube.Object, do func() (kube.Object, error)) (out kube.Object, err error) {
	res, err := kube.ResourceOf(scheme.Scheme, obj)
	if err != nil {
		return nil, err
	}
	name := obj.GetName()
	if name == "" {
		name = obj.GetGenerateName() + "*"
	}
	err = i.write(verb, res.Resource, name, func() error {
		var err error
		out, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Create implements kube.Writer.
func (i *Interceptor) Create(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return i.object("create", obj, func() (kube.Object, error) { return i.Cluster.Create(ctx, obj) })
}

// Update implements kube.Writer.
func (i *Interceptor) Update(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return i.object("update", obj, func() (kube.Object, error) { return i.Cluster.Update(ctx, obj) })
}

// UpdateStatus implements kube.Writer.
func (i *Interceptor) UpdateStatus(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return i.object("update status", obj, func() (kube.Object, error) { return i.Cluster.UpdateStatus(ctx, obj) })
}

// UpdateSub implements kube.Writer.
func (i *Interceptor) UpdateSub(ctx context.Context, obj kube.Object, subresource string) (kube.Object, error) {
	return i.object("update "+subresource, obj, func() (kube.Object, error) { return i.Cluster.UpdateSub(ctx, obj, subresource) })
}

// Patch implements kube.Writer.
func (i *Interceptor) Patch(ctx context.Context, res schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, subresources ...string) (out kube.Object, err error) {
	err = i.write(strings.Join(append([]string{"patch"}, subresources...), " "), res.Resource, name, func() error {
		var err error
		out, err = i.Cluster.Patch(ctx, res, namespace, name, pt, data, subresources...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Delete implements kube.Writer.
func (i *Interceptor) Delete(ctx context.Context, res schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) error {
	return i.write("delete", res.Resource, name, func() error { return i.Cluster.Delete(ctx, res, namespace, name, opts) })
}

// CreateSub implements kube.Writer.
func (i *Interceptor) CreateSub(ctx context.Context, res schema.GroupVersionResource, namespace, name, subresource string, body runtime.Object) (out runtime.Object, err error) {
	err = i.write("create "+subresource, res.Resource, name, func() error {
		var err error
		out, err = i.Cluster.CreateSub(ctx, res, namespace, name, subresource, body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Conflict is the error of a write that lost a race.
func Conflict(resource, name string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: resource}, name, fmt.Errorf("the object has been modified"))
}

// Unavailable is the error of a server that cannot answer now.
func Unavailable() error { return apierrors.NewServiceUnavailable("out of order") }

// Refused is the error of a write that a quota forbids.
func Refused(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", fmt.Errorf("exceeded quota"))
}
