package objects

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/api/podrefs"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// key names an object that is followed.
type key struct {
	kind            podrefs.Kind
	namespace, name string
}

func (k key) resource() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(string(k.kind))
}

// noun is the kind as it stands in an error.
func (k key) noun() string { return strings.TrimSuffix(string(k.kind), "s") }

// held is an object that is followed, because pods refer to it.
type held struct {
	cancel context.CancelFunc
	tried  chan struct{} // closed when it was read, or could not be, for the first time

	// Of the Reader's mu.
	pods   map[types.UID]func() // whom to tell of changes
	object kube.Object          // nil: there is none, or nothing is known yet
	begun  bool                 // object is what the server has
}

// How long to wait after an object could not be followed, at first and at most: the server that is asked may not know of the pod yet.
const (
	againFirst = 50 * time.Millisecond
	againMost  = 30 * time.Second
)

// Hold follows the ConfigMaps and Secrets that a pod refers to until Release, or until ctx ends. It may be called again when the pod has changed.
// changed is called when one of them has, from any goroutine; it must not call the Reader.
func (r *Reader) Hold(ctx context.Context, pod *corev1.Pod, changed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ref := range podrefs.Of(pod) {
		if ref.Kind != podrefs.ConfigMap && ref.Kind != podrefs.Secret {
			continue
		}
		k := key{ref.Kind, pod.Namespace, ref.Name}
		h, ok := r.held[k]
		if !ok {
			h = &held{tried: make(chan struct{}), pods: map[types.UID]func(){}}
			var following context.Context
			following, h.cancel = context.WithCancel(ctx)
			r.held[k] = h
			r.wait.Go(func() { r.follow(following, k, h) })
		}
		h.pods[pod.UID] = changed
	}
}

// Release lets go of what only this pod refers to, a ConfigMap a little later.
func (r *Reader) Release(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, h := range r.held {
		if _, ok := h.pods[uid]; !ok {
			continue
		}
		if delete(h.pods, uid); len(h.pods) > 0 {
			continue
		}
		if k.kind == podrefs.Secret {
			r.drop(k, h)
			continue
		}
		time.AfterFunc(linger, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(h.pods) == 0 {
				r.drop(k, h)
			}
		})
	}
}

// linger is how long a ConfigMap is followed after its last pod: the next one often comes soon (the certificates of the cluster are in every pod of
// a namespace), and should not have to wait for it. A Secret leaves the memory at once.
const linger = time.Minute

// drop ends the following of an object; mu is held.
func (r *Reader) drop(k key, h *held) {
	h.cancel()
	if r.held[k] == h {
		delete(r.held, k)
	}
}

// Wait returns when nothing is being followed any more; the contexts of all Holds must have ended.
func (r *Reader) Wait() { r.wait.Wait() }

// follow begins to follow an object, again and again until that succeeds; from then on it is the Cluster that goes on.
func (r *Reader) follow(ctx context.Context, k key, h *held) {
	for wait := againFirst; ; wait = min(2*wait, againMost) {
		err := r.cluster.One(ctx, k.resource(), k.namespace, k.name, func(object kube.Object) { r.told(h, object) })
		if wait == againFirst {
			close(h.tried)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		r.logger.Debug("cannot follow what a pod refers to", k.noun(), k.namespace+"/"+k.name, "err", err)
		if !run.Pause(ctx, wait) {
			return
		}
	}
}

// told takes in an object, and tells those who refer to it, but not of what they begin with.
func (r *Reader) told(h *held, object kube.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !h.begun
	h.object, h.begun = object, true
	if first && object == nil {
		return
	}
	select {
	case <-h.tried:
	default:
		return // whoever reads it waits for that
	}
	for _, changed := range h.pods {
		changed()
	}
}

// known returns an object from memory, or nil. It waits for one that is just being read for the first time.
func (r *Reader) known(ctx context.Context, k key) kube.Object {
	r.mu.Lock()
	h := r.held[k]
	r.mu.Unlock()
	if h == nil {
		return nil
	}
	select {
	case <-h.tried:
	case <-ctx.Done():
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return h.object
}
