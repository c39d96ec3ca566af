// Package status carries the status of one pod to the API.
//
// It does not decide what a status says. It writes at once when something changed, keeps only the newest while the API cannot be
// reached, and never gives up while the pod exists. Start with Writer.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Config is what a Writer needs.
type Config struct {
	Cluster kube.Cluster
	Key     observe.Key
	Owned   []corev1.PodConditionType // the conditions to write; others are left alone
	Logger  *slog.Logger
}

// Writer writes the status of one pod.
type Writer struct {
	Config
	mu      sync.Mutex
	changed sync.Cond
	wanted  *corev1.PodStatus
	written *corev1.PodStatus
	busy    bool
	gone    bool // the API has no such pod
	wait    sync.WaitGroup
}

// New returns a Writer.
func New(config Config) *Writer {
	w := &Writer{Config: config}
	w.changed.L = &w.mu
	return w
}

// Set makes status the one to write, before ctx ends. It does not wait.
func (w *Writer) Set(ctx context.Context, status corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone || w.wanted != nil && equality.Semantic.DeepEqual(*w.wanted, status) {
		return
	}
	w.wanted = &status
	if !w.busy {
		w.busy = true
		w.wait.Go(func() { w.run(ctx) })
	}
}

// Flush waits until the newest status has been written or the pod is gone.
func (w *Writer) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.gone && w.written != w.wanted && ctx.Err() == nil {
		w.changed.Wait()
	}
	return ctx.Err()
}

// Close waits for the last write to end; the context given to Set should have ended.
func (w *Writer) Close() { w.wait.Wait() }

// Delays between tries.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 10 * time.Second
)

func (w *Writer) run(ctx context.Context) {
	delay := firstRetry
	for {
		w.mu.Lock()
		next := w.wanted
		if w.written == next || w.gone || ctx.Err() != nil {
			w.busy = false
			w.changed.Broadcast()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		err := w.write(ctx, next)
		gone := err != nil && w.isGone(ctx, err)
		w.mu.Lock()
		w.gone = gone
		if err == nil {
			w.written, delay = next, firstRetry
		}
		w.changed.Broadcast()
		w.mu.Unlock()
		if err == nil || gone || ctx.Err() != nil {
			continue
		}
		w.Logger.Warn("cannot write pod status", "pod", w.Key.Namespace+"/"+w.Key.Name, "err", err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		delay = min(2*delay, lastRetry)
	}
}

// isGone tells whether an error means that the pod is no more. A conflict may mean that its name is another pod's now, or only that
// the server was busy with the same object.
func (w *Writer) isGone(ctx context.Context, err error) bool {
	if apierrors.IsConflict(err) {
		current, liveErr := w.Cluster.Live(ctx, kube.Pods, w.Key.Namespace, w.Key.Name)
		if liveErr == nil {
			return current.GetUID() != w.Key.UID
		}
		err = liveErr
	}
	return apierrors.IsNotFound(err)
}

func (w *Writer) write(ctx context.Context, status *corev1.PodStatus) error {
	patch, err := Patch(w.Key.UID, status, w.Owned)
	if err != nil {
		return err
	}
	_, err = w.Cluster.Patch(ctx, kube.Pods, w.Key.Namespace, w.Key.Name, types.StrategicMergePatchType, patch, "status")
	return err
}

// Patch is the strategic merge patch that makes a pod's status what this node says, and leaves alone what others own: their conditions,
// and fields that no node writes. It fails with a conflict if the name belongs to another pod by now.
func Patch(uid types.UID, status *corev1.PodStatus, owned []corev1.PodConditionType) ([]byte, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	// What this node owns and does not say must be removed, not left as it was.
	for _, name := range []string{"message", "reason", "podIP", "podIPs", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		if _, ok := fields[name]; !ok {
			fields[name] = nil
		}
	}
	for _, foreign := range []string{"nominatedNodeName", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus"} {
		delete(fields, foreign)
	}
	for _, name := range []string{"podIPs", "hostIPs"} {
		if list, ok := fields[name].([]any); ok {
			fields[name] = append(list, map[string]any{"$patch": "replace"})
		}
	}
	fields["conditions"] = conditions(status.Conditions, owned)
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": fields})
}

func conditions(all []corev1.PodCondition, owned []corev1.PodConditionType) []any {
	out := []any{}
	for _, kind := range owned {
		if !slices.ContainsFunc(all, func(c corev1.PodCondition) bool { return c.Type == kind }) {
			out = append(out, map[string]any{"type": kind, "$patch": "delete"}) // it was true once, and is not any more
		}
		for _, c := range all {
			if c.Type != kind {
				continue
			}
			out = append(out, map[string]any{
				"type": c.Type, "status": c.Status, "lastProbeTime": nil, "lastTransitionTime": c.LastTransitionTime,
				"reason": orNil(c.Reason), "message": orNil(c.Message), "observedGeneration": c.ObservedGeneration,
			})
		}
	}
	return out
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
