// Package evict gives up pods that take more than they may, or more than the node has.
//
// It does not stop anything itself: it names pods, and their workers end them. Start with Decide, which is pure; Watcher measures and asks it
// from time to time, since neither files nor memory tell when they grow.
package evict

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/resource"

	"github.com/cuppa-project/cuppa/kubelet/podworker"
	"github.com/cuppa-project/cuppa/kubelet/qos"
)

// Usage is what one pod uses.
type Usage struct {
	Pod     *corev1.Pod
	Volumes map[string]int64 // bytes in emptyDir volumes that have a limit
	Memory  int64
}

// Eviction is a pod to give up.
type Eviction struct {
	UID     types.UID
	Message string
	Hurry   bool
}

// Decide names the pods to give up: those whose volumes are over their limits, and, when the node is short of memory, one: the one that is
// furthest over what it asked for, of the lowest priority. It is pure.
func Decide(usages []Usage, available, least int64) []Eviction {
	var out []Eviction
	for _, u := range usages {
		if message := overLimit(u); message != "" {
			out = append(out, Eviction{UID: u.Pod.UID, Message: message})
		}
	}
	if available >= least || len(out) > 0 {
		return out
	}
	candidates := slices.DeleteFunc(slices.Clone(usages), func(u Usage) bool { return u.Memory == 0 })
	if len(candidates) == 0 {
		return nil
	}
	worst := slices.MinFunc(candidates, func(a, b Usage) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(priority(a), priority(b)), -cmp.Compare(excess(a), excess(b)), cmp.Compare(a.Pod.UID, b.Pod.UID))
	})
	request := helper.PodRequests(worst.Pod, helper.PodResourcesOptions{})[corev1.ResourceMemory]
	return []Eviction{{UID: worst.Pod.UID, Hurry: true, Message: fmt.Sprintf(
		"The node was low on resource: memory. Threshold quantity: %s, available: %s. The pod was using %s, request is %s.",
		bytes(least), bytes(available), bytes(worst.Memory), request.String())}}
}

func overLimit(u Usage) string {
	for _, v := range u.Pod.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
			continue
		}
		if used, ok := u.Volumes[v.Name]; ok && used > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	return ""
}

// rank puts those who use more than they asked for before those who do not.
func rank(u Usage) int {
	if excess(u) > 0 && qos.Of(u.Pod) != corev1.PodQOSGuaranteed {
		return 0
	}
	return 1
}

func excess(u Usage) int64 {
	request := helper.PodRequests(u.Pod, helper.PodResourcesOptions{})[corev1.ResourceMemory]
	return u.Memory - request.Value()
}

func priority(u Usage) int32 {
	if u.Pod.Spec.Priority == nil {
		return 0
	}
	return *u.Pod.Spec.Priority
}

func bytes(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }

// Config is what a Watcher needs.
type Config struct {
	Pods      func() []*corev1.Pod
	Volume    func(ctx context.Context, uid types.UID, name string) (int64, error) // bytes in an emptyDir
	Memory    func(ctx context.Context) (map[types.UID]int64, error)               // bytes each pod uses
	Available func() int64                                                         // memory that is left on the node
	Least     int64                                                                // below this the node is short of memory
	End       func(uid types.UID, outcome podworker.Outcome)
	Logger    *slog.Logger
}

// Watcher looks at what pods use.
type Watcher struct{ Config }

const every = 10 * time.Second

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		available := w.Available()
		for _, e := range Decide(w.measure(ctx, available < w.Least), available, w.Least) {
			w.Logger.Warn("evicting pod", "uid", e.UID, "reason", e.Message)
			w.End(e.UID, podworker.Outcome{Phase: corev1.PodFailed, Reason: "Evicted", Message: e.Message, Hurry: e.Hurry})
		}
	}
}

// measure looks at volumes that have a limit, and at memory only when the node is short of it.
func (w *Watcher) measure(ctx context.Context, short bool) []Usage {
	var memory map[types.UID]int64
	if short {
		var err error
		if memory, err = w.Memory(ctx); err != nil {
			w.Logger.Warn("cannot measure the memory of pods", "err", err)
		}
	}
	var out []Usage
	for _, pod := range w.Pods() {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil {
			continue
		}
		u := Usage{Pod: pod, Volumes: map[string]int64{}, Memory: memory[pod.UID]}
		for _, v := range pod.Spec.Volumes {
			if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
				continue // memory is limited by its mount
			}
			if used, err := w.Volume(ctx, pod.UID, v.Name); err == nil {
				u.Volumes[v.Name] = used
			}
		}
		out = append(out, u)
	}
	return out
}
