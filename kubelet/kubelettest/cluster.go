package kubelettest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
)

// kinds is what the cluster can hold.
func kinds() map[string]func() kube.Object {
	return map[string]func() kube.Object{
		"pods":            func() kube.Object { return &corev1.Pod{} },
		"nodes":           func() kube.Object { return &corev1.Node{} },
		"configmaps":      func() kube.Object { return &corev1.ConfigMap{} },
		"secrets":         func() kube.Object { return &corev1.Secret{} },
		"services":        func() kube.Object { return &corev1.Service{} },
		"serviceaccounts": func() kube.Object { return &corev1.ServiceAccount{} },
		"events":          func() kube.Object { return &corev1.Event{} },
		"leases":          func() kube.Object { return &coordinationv1.Lease{} },
	}
}

func resourceOf(obj kube.Object) string {
	for name, make := range kinds() {
		if fmt.Sprintf("%T", make()) == fmt.Sprintf("%T", obj) {
			return name
		}
	}
	panic(fmt.Sprintf("kubelettest: no resource for %T", obj))
}

type objectKey struct{ resource, namespace, name string }

// Cluster is an API in memory, with just the kinds that nodes deal with. Deleting a bound pod is graceful, as in the
// real one. Fail makes calls fail.
type Cluster struct {
	mu       sync.Mutex
	revision int
	uids     int
	objects  map[objectKey]kube.Object
	watchers map[*watcher]bool
	// Fail, if set, is asked before every write; its error is the call's.
	Fail func(verb, resource, name string) error
	// TokenLifetime is how long tokens live whatever is asked; 0: as asked.
	TokenLifetime time.Duration
	patches       map[string]int
}

// NewCluster returns an empty cluster.
func NewCluster() *Cluster {
	return &Cluster{objects: map[objectKey]kube.Object{}, watchers: map[*watcher]bool{}, patches: map[string]int{}}
}

// Patches returns how many patches of a resource's object were made.
func (c *Cluster) Patches(resource, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.patches[resource+"/"+name]
}

func (c *Cluster) fail(verb, resource, name string) error {
	if c.Fail == nil {
		return nil
	}
	return c.Fail(verb, resource, name)
}

func copyOf(obj kube.Object) kube.Object { return obj.DeepCopyObject().(kube.Object) }

func notFound(res, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: res}, name)
}

// store puts an object and tells watchers. c.mu is held.
func (c *Cluster) store(key objectKey, obj kube.Object) {
	c.revision++
	old := c.objects[key]
	if obj == nil {
		delete(c.objects, key)
	} else {
		obj.SetResourceVersion(strconv.Itoa(c.revision))
		c.objects[key] = obj
	}
	for w := range c.watchers {
		if w.resource == key.resource {
			e := kube.Event{}
			if old != nil {
				e.Old = old
			}
			if obj != nil {
				e.New = obj
			}
			w.push(e)
		}
	}
}

// Create implements kube.Writer.
func (c *Cluster) Create(_ context.Context, obj kube.Object) (kube.Object, error) {
	res := resourceOf(obj)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail("create", res, obj.GetName()); err != nil {
		return nil, err
	}
	key := objectKey{res, obj.GetNamespace(), obj.GetName()}
	if _, ok := c.objects[key]; ok {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: res}, obj.GetName())
	}
	obj = copyOf(obj)
	c.uids++
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", c.uids)))
	}
	obj.SetCreationTimestamp(metav1.Now())
	obj.SetGeneration(1)
	c.store(key, obj)
	return copyOf(obj), nil
}

// Update implements kube.Writer.
func (c *Cluster) Update(_ context.Context, obj kube.Object) (kube.Object, error) {
	res := resourceOf(obj)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail("update", res, obj.GetName()); err != nil {
		return nil, err
	}
	key := objectKey{res, obj.GetNamespace(), obj.GetName()}
	old, ok := c.objects[key]
	if !ok {
		return nil, notFound(res, obj.GetName())
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: res}, obj.GetName(), fmt.Errorf("it has changed"))
	}
	obj = copyOf(obj)
	obj.SetUID(old.GetUID())
	c.store(key, obj)
	return copyOf(obj), nil
}

// UpdateStatus implements kube.Writer.
func (c *Cluster) UpdateStatus(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return c.Update(ctx, obj)
}

// Patch implements kube.Writer.
func (c *Cluster) Patch(_ context.Context, gvr schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, _ ...string) (kube.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail("patch", gvr.Resource, name); err != nil {
		return nil, err
	}
	key := objectKey{gvr.Resource, namespace, name}
	old, ok := c.objects[key]
	if !ok {
		return nil, notFound(gvr.Resource, name)
	}
	var head struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if head.Metadata.UID != "" && head.Metadata.UID != old.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: gvr.Resource}, name, fmt.Errorf("uid mismatch"))
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	fresh := kinds()[gvr.Resource]()
	var after []byte
	if pt == types.StrategicMergePatchType {
		after, err = strategicpatch.StrategicMergePatch(before, data, fresh)
	} else {
		after, err = jsonpatch.MergePatch(before, data)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := json.Unmarshal(after, fresh); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	c.patches[gvr.Resource+"/"+name]++
	c.store(key, fresh)
	return copyOf(fresh), nil
}

// Delete implements kube.Writer.
func (c *Cluster) Delete(_ context.Context, gvr schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail("delete", gvr.Resource, name); err != nil {
		return err
	}
	key := objectKey{gvr.Resource, namespace, name}
	old, ok := c.objects[key]
	if !ok {
		return notFound(gvr.Resource, name)
	}
	if p := opts.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Resource: gvr.Resource}, name, fmt.Errorf("uid mismatch"))
	}
	pod, isPod := old.(*corev1.Pod)
	if !isPod || pod.Spec.NodeName == "" || opts.GracePeriodSeconds != nil && *opts.GracePeriodSeconds == 0 {
		c.store(key, nil)
		return nil
	}
	grace := int64(30)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if opts.GracePeriodSeconds != nil {
		grace = *opts.GracePeriodSeconds
	}
	pod = pod.DeepCopy()
	stamp := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &stamp, &grace
	c.store(key, pod)
	return nil
}

// CreateSub implements kube.Writer for service account tokens.
func (c *Cluster) CreateSub(_ context.Context, gvr schema.GroupVersionResource, _, name, subresource string, body runtime.Object) (runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail("create", gvr.Resource+"/"+subresource, name); err != nil {
		return nil, err
	}
	request, ok := body.(*authenticationv1.TokenRequest)
	if !ok || subresource != "token" {
		return nil, apierrors.NewBadRequest("only tokens")
	}
	request = request.DeepCopy()
	c.uids++
	life := time.Duration(*request.Spec.ExpirationSeconds) * time.Second
	request.Status.Token = fmt.Sprintf("token-%d", c.uids)
	request.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(cmp.Or(c.TokenLifetime, life)))
	return request, nil
}

// Live implements kube.Cluster.
func (c *Cluster) Live(_ context.Context, gvr schema.GroupVersionResource, namespace, name string) (kube.Object, error) {
	if obj := c.Source(gvr).Get(namespace, name); obj != nil {
		return copyOf(obj), nil
	}
	return nil, notFound(gvr.Resource, name)
}

// Source implements kube.Cluster.
func (c *Cluster) Source(gvr schema.GroupVersionResource) kube.Source { return source{c, gvr.Resource} }

// One implements kube.Cluster.
func (c *Cluster) One(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, fn func(kube.Object)) error {
	return kubetest.One(ctx, c.Source(gvr), namespace, name, fn)
}

// Metadata implements kube.Cluster.
func (c *Cluster) Metadata(gvr schema.GroupVersionResource) kube.Source { return c.Source(gvr) }

type source struct {
	cluster  *Cluster
	resource string
}

func (s source) Get(namespace, name string) kube.Object {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if obj, ok := s.cluster.objects[objectKey{s.resource, namespace, name}]; ok {
		return obj
	}
	return nil
}

func (s source) List(namespace string, selector labels.Selector) []kube.Object {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.list(namespace, selector)
}

func (s source) list(namespace string, selector labels.Selector) []kube.Object {
	var out []kube.Object
	for key, obj := range s.cluster.objects {
		if key.resource == s.resource && (namespace == "" || key.namespace == namespace) && selector.Matches(labels.Set(obj.GetLabels())) {
			out = append(out, obj)
		}
	}
	slices.SortFunc(out, func(a, b kube.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// By implements kube.Source.
func (s source) By(index *kube.Index, key string) []kube.Object {
	return kubetest.Under(s.List("", labels.Everything()), index, key)
}

// watcher delivers events from a queue without bound, so that writers never wait for watchers.
type watcher struct {
	resource string
	mu       sync.Mutex
	queue    []kube.Event
	news     chan struct{}
}

func (w *watcher) push(e kube.Event) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []kube.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.queue
	w.queue = nil
	return out
}

// Watch implements kube.Source.
func (s source) Watch(ctx context.Context, fn func(kube.Event)) error {
	w := &watcher{resource: s.resource, news: make(chan struct{}, 1)}
	s.cluster.mu.Lock()
	for _, obj := range s.list("", labels.Everything()) {
		w.queue = append(w.queue, kube.Event{New: obj})
	}
	s.cluster.watchers[w] = true
	s.cluster.mu.Unlock()
	ready := make(chan struct{})
	go func() {
		for _, e := range w.take() {
			fn(e)
		}
		close(ready)
		for {
			select {
			case <-ctx.Done():
				s.cluster.mu.Lock()
				delete(s.cluster.watchers, w)
				s.cluster.mu.Unlock()
				return
			case <-w.news:
				for _, e := range w.take() {
					fn(e)
				}
			}
		}
	}()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// UpdateSub implements kube.Writer.
func (c *Cluster) UpdateSub(ctx context.Context, obj kube.Object, _ string) (kube.Object, error) {
	return c.Update(ctx, obj)
}

// Resources implements kube.Cluster.
func (c *Cluster) Resources(context.Context) ([]kube.Resource, error) { return nil, nil }

// FollowResources implements kube.Cluster.
func (c *Cluster) FollowResources(_ context.Context, fn func([]kube.Resource)) error {
	fn(nil)
	return nil
}
