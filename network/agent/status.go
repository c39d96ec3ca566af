package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

// Reasons of the condition api.ConditionPublished, and of the event that goes with it.
const (
	reasonPublished = "Published"
	reasonClash     = "PortInUse"
	reasonInvalid   = "InvalidHostAddress"

	reasonUnsupported = "Unsupported"
)

// wanted is what a Service's status should say.
type wanted struct {
	addrs   []string           // of the nodes
	refused map[portKey]string // ports that cannot be had, with the reasons
}

// planStatus is pure: the status a Service should have, given the one it has. The condition's time is left to the caller.
func planStatus(s *corev1.Service, w wanted) corev1.ServiceStatus {
	out := *s.Status.DeepCopy()
	if !published(s) {
		out.LoadBalancer = corev1.LoadBalancerStatus{}
		meta.RemoveStatusCondition(&out.Conditions, api.ConditionPublished)
		return out
	}
	cond := metav1.Condition{Type: api.ConditionPublished, Status: metav1.ConditionTrue, Reason: reasonPublished, ObservedGeneration: s.Generation}
	hostIPs, err := hostAddrs(s)
	unsupported := restricted(s)
	switch {
	case err != nil:
		cond.Status, cond.Reason, cond.Message = metav1.ConditionFalse, reasonInvalid, err.Error()
	case unsupported != nil:
		cond.Status, cond.Reason, cond.Message = metav1.ConditionFalse, reasonUnsupported, unsupported.Error()
	case len(w.refused) > 0:
		cond.Status, cond.Reason, cond.Message = metav1.ConditionFalse, reasonClash, refusals(w.refused)
	}
	setCondition(&out.Conditions, cond)
	out.LoadBalancer = corev1.LoadBalancerStatus{}
	if err != nil || unsupported != nil || len(w.refused) >= len(s.Spec.Ports) {
		return out
	}
	for _, a := range answering(s, w, hostIPs) {
		ip := corev1.LoadBalancerIngress{IP: a, IPMode: new(corev1.LoadBalancerIPModeVIP)}
		if len(w.refused) > 0 {
			ip.Ports = portStatus(s, w, hostIPs)
		}
		out.LoadBalancer.Ingress = append(out.LoadBalancer.Ingress, ip)
	}
	return out
}

// answering are the addresses at which any port of the Service answers.
func answering(s *corev1.Service, w wanted, hostIPs map[string]netip.Addr) []string {
	seen := map[string]bool{}
	for _, sp := range s.Spec.Ports {
		key := keyOf(sp, hostIPs)
		switch {
		case w.refused[key] != "":
		case key.addr.IsValid():
			seen[key.addr.String()] = true
		default:
			for _, a := range w.addrs {
				seen[a] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), compareAddrs)
}

func portStatus(s *corev1.Service, w wanted, hostIPs map[string]netip.Addr) []corev1.PortStatus {
	var out []corev1.PortStatus
	for _, sp := range s.Spec.Ports {
		st := corev1.PortStatus{Port: sp.Port, Protocol: corev1.Protocol(protocolName(sp.Protocol))}
		if w.refused[keyOf(sp, hostIPs)] != "" {
			st.Error = new(reasonClash)
		}
		out = append(out, st)
	}
	return out
}

func refusals(refused map[portKey]string) string {
	var lines []string
	for _, key := range slices.SortedFunc(maps.Keys(refused), compareKeys) {
		lines = append(lines, refused[key])
	}
	return strings.Join(lines, "; ")
}

// setCondition replaces the condition of its type; its time stays if its status does.
func setCondition(all *[]metav1.Condition, c metav1.Condition) {
	if old := meta.FindStatusCondition(*all, c.Type); old != nil {
		c.LastTransitionTime = old.LastTransitionTime
		if old.Status == c.Status {
			*old = c
			return
		}
		*old = c
		old.LastTransitionTime = metav1.Time{}
		return
	}
	*all = append(*all, c)
}

// stamp gives conditions that are new or have turned the time.
func stamp(all []metav1.Condition, now time.Time) {
	for i := range all {
		if all[i].LastTransitionTime.IsZero() {
			all[i].LastTransitionTime = metav1.NewTime(now)
		}
	}
}

// statusWriter writes statuses, one goroutine for all, so that the loop never waits for the API.
type statusWriter struct {
	cfg    Config
	events *events.Recorder
	wake   chan struct{}

	mu    sync.Mutex
	todo  map[string]wanted
	delay map[string]time.Duration
}

func newStatusWriter(cfg Config, rec *events.Recorder) *statusWriter {
	return &statusWriter{cfg: cfg, events: rec, wake: make(chan struct{}, 1), todo: map[string]wanted{}, delay: map[string]time.Duration{}}
}

func (w *statusWriter) put(key string, want wanted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.todo[key] = want
	w.signal()
}

func (w *statusWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends. What fails is tried again, more and more rarely.
func (w *statusWriter) Run(ctx context.Context) error {
	var timer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer:
		}
		timer = nil
		if wait := w.round(ctx); wait > 0 {
			timer = time.After(wait)
		}
	}
}

// round writes everything that is due and returns when to try again what failed.
func (w *statusWriter) round(ctx context.Context) (wait time.Duration) {
	w.mu.Lock()
	todo := w.todo
	w.todo = map[string]wanted{}
	w.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(todo)) {
		err := w.write(ctx, key, todo[key])
		if err == nil || ctx.Err() != nil {
			delete(w.delay, key)
			continue
		}
		if !apierrors.IsConflict(err) {
			w.cfg.Log.Error("write Service status", "service", key, "err", err)
		}
		d := min(cmp.Or(w.delay[key]*2, 20*time.Millisecond), retryMax)
		w.delay[key] = d
		if wait == 0 || d < wait {
			wait = d
		}
		w.mu.Lock()
		if _, newer := w.todo[key]; !newer {
			w.todo[key] = todo[key]
		}
		w.mu.Unlock()
	}
	return wait
}

func (w *statusWriter) write(ctx context.Context, key string, want wanted) error {
	namespace, name, _ := strings.Cut(key, "/")
	s, ok := kube.Get[*corev1.Service](w.cfg.Cluster, kube.Services, namespace, name)
	if !ok || s == nil {
		return nil
	}
	status := planStatus(s, want)
	if reflect.DeepEqual(status, s.Status) {
		return nil
	}
	before := meta.FindStatusCondition(s.Status.Conditions, api.ConditionPublished)
	stamp(status.Conditions, time.Now())
	s = s.DeepCopy()
	s.Status = status
	if _, err := w.cfg.Cluster.UpdateStatus(ctx, s); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("write status of Service %s: %w", key, err)
	}
	now := meta.FindStatusCondition(status.Conditions, api.ConditionPublished)
	if now != nil && now.Status == metav1.ConditionFalse && (before == nil || before.Message != now.Message) {
		w.events.Warning(s, now.Reason, "%s", now.Message)
	}
	return nil
}
