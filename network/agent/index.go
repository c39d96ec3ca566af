package agent

import (
	"context"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// index is which Services changed since they were last taken. Its watchers only enter names; what a Service and its slices are is read from the
// cluster's memory when the loop does the work.
type index struct {
	cluster kube.Cluster
	wake    chan struct{} // holds a token while there is something to take

	mu       sync.Mutex
	dirty    map[string]bool
	pods     bool // host ports changed
	names    bool // the DNS server has lost its zone
	nodesNew bool
}

func newIndex(cluster kube.Cluster) *index {
	return &index{cluster: cluster, wake: make(chan struct{}, 1), dirty: map[string]bool{}}
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
func (x *index) watch(ctx context.Context) error {
	c := x.cluster
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
	if now == nil {
		now = old
	}
	x.touch(now.Namespace + "/" + now.Name)
}

func (x *index) slice(old, now *discoveryv1.EndpointSlice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range []*discoveryv1.EndpointSlice{old, now} {
		if s == nil {
			continue
		}
		if key := owner(s); key != "" {
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
	// Nodes report often; only their addresses matter here.
	if old != nil && now != nil && slices.Equal(old.Status.Addresses, now.Status.Addresses) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
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
	services := kube.List[*corev1.Service](x.cluster, kube.Services, "", nil)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range services {
		x.dirty[s.Namespace+"/"+s.Name] = true
	}
	x.nodesNew = true
	x.signal()
}

// take returns what changed since the last call, as it is now.
func (x *index) take() batch {
	x.mu.Lock()
	b := batch{services: make(map[string]observed, len(x.dirty)), pods: x.pods, names: x.names}
	dirty, nodesNew := x.dirty, x.nodesNew
	x.dirty, x.pods, x.names, x.nodesNew = map[string]bool{}, false, false, false
	x.mu.Unlock()
	for key := range dirty {
		b.services[key] = x.observe(key)
	}
	if nodesNew {
		b.nodes = kube.List[*corev1.Node](x.cluster, kube.Nodes, "", nil)
	}
	return b
}

// observe returns a Service as it is now.
func (x *index) observe(key string) observed {
	namespace, name, _ := strings.Cut(key, "/")
	o := observed{slices: kube.By[*discoveryv1.EndpointSlice](x.cluster, kube.EndpointSlices, kube.ByService, key)}
	o.service, _ = kube.Get[*corev1.Service](x.cluster, kube.Services, namespace, name)
	return o
}

// all returns every Service as it is now.
func (x *index) all() map[string]observed {
	all := map[string]observed{}
	for _, s := range kube.List[*corev1.Service](x.cluster, kube.Services, "", nil) {
		key := s.Namespace + "/" + s.Name
		all[key] = x.observe(key)
	}
	return all
}
