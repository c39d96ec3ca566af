package probe

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// port stands for a container's port that opens and closes.
type port struct {
	mu    sync.Mutex
	open  bool
	times []time.Duration // when it was asked, since the beginning
	began time.Time
}

func (p *port) set(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
}

func (p *port) asked() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.times)
}

func (p *port) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = append(p.times, time.Since(p.began))
	if !p.open {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

// TestEagerUntilFirstSuccess holds that a container which has just started is asked again at growing intervals that count for nothing, and from its
// first success on once a period, with failures that count.
func TestEagerUntilFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &port{began: time.Now()}
		var unhealthy atomic.Int32
		set := NewSet(Config{Handler: Handler{Dial: p.dial}, Unhealthy: func(Target, Kind, string) { unhealthy.Add(1) }, Changed: func() {}})
		spec := &corev1.Container{Name: "c", ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 2,
			ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}}}
		set.Watch(t.Context(), Target{Pod: &corev1.Pod{}, Spec: spec, IP: "10.0.0.1", Container: observe.Container{ID: "id", StartedAt: time.Now()}})
		defer set.Close()
		ready := func() bool { return set.States()["id"].Ready }

		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond, 70 * time.Millisecond}
		if len(p.asked()) != len(want) {
			t.Fatalf("asked at %v, want %v", p.asked(), want)
		}
		for i := range want {
			if p.asked()[i] != want[i] {
				t.Errorf("asked at %v, want %v", p.asked(), want)
				break
			}
		}
		if ready() || unhealthy.Load() != 0 {
			t.Errorf("before the first success: ready %v, %d failures counted; want neither", ready(), unhealthy.Load())
		}

		p.set(true)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if !ready() {
			t.Fatal("the port is open, but the container is not ready")
		}
		asked := len(p.asked())

		p.set(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(p.asked()) != asked+1 || unhealthy.Load() != 1 || !ready() {
			t.Errorf("a period later: %d more questions, %d failures, ready %v; want one, one, and still ready", len(p.asked())-asked, unhealthy.Load(), ready())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if ready() {
			t.Error("after two failures in a row it is still ready")
		}
	})
}
