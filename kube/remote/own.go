package remote

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/kube"
)

// ownWriteWait bounds how long a write waits for its echo; past it the caller goes on and its loop sees the change a little later.
const ownWriteWait = 5 * time.Second

// peek returns the object from memory if the resource is being watched at all.
func (c *Cluster) peek(res schema.GroupVersionResource, namespace, name string) kube.Object {
	for _, s := range c.watched(res) {
		if obj := s.Get(namespace, name); obj != nil {
			return obj
		}
	}
	return nil
}

// watched returns the Sources of a resource that hold its present state.
func (c *Cluster) watched(res schema.GroupVersionResource) []*source {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*source
	for _, metadata := range []bool{false, true} {
		if s := c.sources[of{res, metadata}]; s != nil && c.ctx != nil && s.informer.HasSynced() {
			out = append(out, s)
		}
	}
	return out
}

// awaitWrite blocks until the Sources of res show obj's revision or a later one; those that a selector narrows may show that it is none of theirs.
func (c *Cluster) awaitWrite(ctx context.Context, res schema.GroupVersionResource, obj kube.Object) {
	want := revision(obj)
	for _, s := range c.watched(res) {
		holds := sync.OnceValue(func() bool { return selects(s.selector, obj) }) // seldom asked, and it costs more than all the rest
		s.await(ctx, func(seen int64) bool {
			have := s.Get(obj.GetNamespace(), obj.GetName())
			switch {
			case have != nil:
				return revision(have) >= want
			case holds():
				return seen >= want // it came and went again
			}
			return true
		})
	}
}

// awaitDelete blocks until the Sources of res show that obj goes or is gone.
func (c *Cluster) awaitDelete(ctx context.Context, res schema.GroupVersionResource, obj kube.Object) {
	for _, s := range c.watched(res) {
		s.await(ctx, func(int64) bool {
			have := s.Get(obj.GetNamespace(), obj.GetName())
			return have == nil || have.GetUID() != obj.GetUID() || have.GetDeletionTimestamp() != nil
		})
	}
}

func (s *source) await(ctx context.Context, done func(seen int64) bool) {
	timeout := time.NewTimer(ownWriteWait)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		changed, seen := s.changed, s.seen
		s.mu.Unlock()
		if done(seen) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-timeout.C:
			return
		}
	}
}

// selects says whether an object is among those that a field selector leaves.
func selects(selector fields.Selector, obj kube.Object) bool {
	if selector == nil || selector.Empty() {
		return true
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return true // then the wait ends by its time
	}
	set := fields.Set{}
	for _, r := range selector.Requirements() {
		if value, found, err := unstructured.NestedFieldNoCopy(content, strings.Split(r.Field, ".")...); found && err == nil {
			set[r.Field] = fmt.Sprint(value)
		}
	}
	return selector.Matches(set)
}

func revision(obj kube.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return n
}
