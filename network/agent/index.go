package agent

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// index holds Services with their slices, and which of them changed since they were last taken. Its watchers only enter; the loop does the work.
type index struct {
	wake chan struct{} // holds a token while there is something to take

	mu       sync.Mutex
	services map[string]*corev1.Service
	slices   map[string]map[string]*discoveryv1.EndpointSlice // by Service, by slice
	nodes    map[string]*corev1.Node
	dirty    map[string]bool
	pods     bool // host ports changed
	names    bool // the DNS server has lost its zone
	nodesNew bool
}

func newIndex() *index {
	return &index{
		wake: make(chan struct{}, 1), services: map[string]*corev1.Service{}, slices: map[string]map[string]*discoveryv1.EndpointSlice{},
		nodes: map[string]*corev1.Node{}, dirty: map[string]bool{},
	}
}

// observed is one Service as it is now.
type observed struct {
	service *corev1.Service // nil: gone
	slices  []*discoveryv1.EndpointSlice
}

// batch is what changed.
type batch struct {
	services map[string]observed
	pods     bool
	names    bool
	nodes    []*corev1.Node // nil: unchanged
}

// watch fills the index and keeps it up to date until ctx ends. It returns once everything there is has been entered.
func (x *index) watch(ctx context.Context, c kube.Cluster) error {
	if err := kube.Watch(ctx, c, kube.Nodes, x.node); err != nil {
		return err
	}
	if err := kube.Watch(ctx, c, kube.EndpointSlices, x.slice); err != nil {
		return err
	}
	return kube.Watch(ctx, c, kube.Services, x.service)
}

func (x *index) service(old, now *corev1.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case now != nil:
		key := now.Namespace + "/" + now.Name
		x.services[key] = now
		x.touch(key)
	case old != nil:
		key := old.Namespace + "/" + old.Name
		delete(x.services, key)
		x.touch(key)
	}
}

func (x *index) slice(old, now *discoveryv1.EndpointSlice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old != nil {
		if key := owner(old); key != "" {
			delete(x.slices[key], old.Name)
			if len(x.slices[key]) == 0 {
				delete(x.slices, key)
			}
			x.touch(key)
		}
	}
	if now != nil {
		if key := owner(now); key != "" {
			if x.slices[key] == nil {
				x.slices[key] = map[string]*discoveryv1.EndpointSlice{}
			}
			x.slices[key][now.Name] = now
			x.touch(key)
		}
	}
}

// owner is the Service a slice belongs to.
func owner(s *discoveryv1.EndpointSlice) string {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return ""
	}
	return s.Namespace + "/" + name
}

func (x *index) node(old, now *corev1.Node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	// Nodes report often; only their addresses matter here.
	if old != nil && now != nil && slices.Equal(old.Status.Addresses, now.Status.Addresses) {
		x.nodes[now.Name] = now
		return
	}
	if old != nil {
		delete(x.nodes, old.Name)
	}
	if now != nil {
		x.nodes[now.Name] = now
	}
	x.nodesNew = true
	x.signal()
}

func (x *index) touch(key string) {
	x.dirty[key] = true
	x.signal()
}

func (x *index) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// touchPods says that host ports may have changed.
func (x *index) touchPods() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pods = true
	x.signal()
}

// touchNames says that the DNS server must be given everything again.
func (x *index) touchNames() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names = true
	x.signal()
}

// touchAll has everything looked at again.
func (x *index) touchAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.services {
		x.dirty[key] = true
	}
	x.nodesNew = true
	x.signal()
}

// take returns what changed since the last call.
func (x *index) take() batch {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := batch{services: make(map[string]observed, len(x.dirty)), pods: x.pods, names: x.names}
	for key := range x.dirty {
		b.services[key] = x.observe(key)
	}
	if x.nodesNew {
		b.nodes = []*corev1.Node{}
		for _, n := range x.nodes {
			b.nodes = append(b.nodes, n)
		}
		slices.SortFunc(b.nodes, func(a, b *corev1.Node) int { return compareStrings(a.Name, b.Name) })
	}
	x.dirty, x.pods, x.names, x.nodesNew = map[string]bool{}, false, false, false
	return b
}

// get returns Services as they are now.
func (x *index) get(keys []string) map[string]observed {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := map[string]observed{}
	for _, key := range keys {
		all[key] = x.observe(key)
	}
	return all
}

func (x *index) observe(key string) observed {
	o := observed{service: x.services[key]}
	for _, s := range x.slices[key] {
		o.slices = append(o.slices, s)
	}
	slices.SortFunc(o.slices, func(a, b *discoveryv1.EndpointSlice) int { return compareStrings(a.Name, b.Name) })
	return o
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// all returns every Service as it is now.
func (x *index) all() map[string]observed {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make(map[string]observed, len(x.services))
	for key := range x.services {
		all[key] = x.observe(key)
	}
	return all
}
