package remote

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// oneAgain is how long a watch of one object that was lost waits before it is begun anew, at first and at most.
const (
	oneAgain = 50 * time.Millisecond
	oneMost  = 10 * time.Second
)

// one is a watch of a single object: one request, which begins with the object as it is.
type one struct {
	cluster         *Cluster
	res             schema.GroupVersionResource
	namespace, name string
	fn              func(kube.Object)
	told            kube.Object
	begun           bool // fn has been called
}

// One implements kube.Cluster.
func (c *Cluster) One(ctx context.Context, res schema.GroupVersionResource, namespace, name string, fn func(kube.Object)) error {
	o := &one{cluster: c, res: res, namespace: namespace, name: name, fn: fn}
	first := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	if c.ctx != nil {
		context.AfterFunc(c.ctx, cancel) // for Run waits for all that it has begun
	}
	c.mu.Unlock()
	c.wg.Go(func() {
		defer cancel()
		wait := oneAgain
		for ctx.Err() == nil {
			before := time.Now()
			err := o.watch(ctx, func() { first <- nil })
			if !o.begun {
				first <- err
				return
			}
			if err == nil || time.Since(before) > oneMost {
				wait = oneAgain
			}
			run.Pause(ctx, wait)
			wait = min(2*wait, oneMost)
		}
		if !o.begun {
			first <- ctx.Err()
		}
	})
	return <-first
}

// watch tells what it sees until the watch ends. It calls synced after the first time that it has told anything at all.
func (o *one) watch(ctx context.Context, synced func()) error {
	client, err := o.cluster.client(o.res.GroupVersion())
	if err != nil {
		return err
	}
	w, err := client.Get().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(o.res.Resource).VersionedParams(&metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", o.name).String(), Watch: true, AllowWatchBookmarks: true,
		SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}, scheme.ParameterCodec).Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	var now kube.Object
	initial := true
	for e := range w.ResultChan() {
		switch e.Type {
		case watch.Error:
			return apierrors.FromObject(e.Object)
		case watch.Added, watch.Modified:
			now, _ = e.Object.(kube.Object)
		case watch.Deleted:
			now = nil
		case watch.Bookmark:
			if b, ok := e.Object.(metav1.Object); !initial || !ok || b.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
				continue
			}
			initial = false
		}
		if !initial {
			o.tell(now, synced)
		}
	}
	if initial {
		return apierrors.NewServiceUnavailable("the watch ended before it began")
	}
	return nil
}

// tell calls fn, unless that is what it was told last.
func (o *one) tell(now kube.Object, synced func()) {
	same := (now == nil) == (o.told == nil) && (now == nil || now.GetUID() == o.told.GetUID() && now.GetResourceVersion() == o.told.GetResourceVersion())
	if o.begun && same {
		return
	}
	o.told = now
	o.fn(now)
	if !o.begun {
		o.begun = true
		synced()
	}
}
