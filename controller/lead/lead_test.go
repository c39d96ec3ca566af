package lead_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cuppa-project/cuppa/controller/lead"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
)

// server is one contender; leading counts who runs the parts at the moment.
type server struct {
	cluster *kubetest.Interceptor
	leading atomic.Bool
	begun   atomic.Int32
	stop    context.CancelFunc
	done    chan error
}

// contend starts a server. Parts takes how long its parts need to stop.
func contend(t *testing.T, c kube.Cluster, identity string, all *atomic.Int32, stopping time.Duration) *server {
	s := &server{cluster: kubetest.Intercept(c), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	part := func(ctx context.Context) error {
		if n := all.Add(1); n > 1 {
			t.Errorf("%s begins while another leads", identity)
		}
		s.begun.Add(1)
		s.leading.Store(true)
		<-ctx.Done()
		time.Sleep(stopping)
		s.leading.Store(false)
		all.Add(-1)
		return nil
	}
	go func() {
		s.done <- lead.New(lead.Config{Cluster: s.cluster, Namespace: "kube-system", Name: "loops", Identity: identity,
			Parts: func() []run.Func { return []run.Func{part} }, Logger: slog.New(slog.DiscardHandler)})(ctx)
	}()
	synctest.Wait()
	return s
}

func (s *server) end(t *testing.T) {
	t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestAloneItLeadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all, began := kubelettest.NewCluster(), &atomic.Int32{}, time.Now()
		a := contend(t, c, "a", all, 0)
		if !a.leading.Load() || time.Since(began) > 0 {
			t.Errorf("leads: %v after %s, want at once", a.leading.Load(), time.Since(began))
		}
		time.Sleep(time.Hour)
		if n := a.begun.Load(); n != 1 {
			t.Errorf("the parts began %d times, want once", n)
		}
		// It is killed, and comes back.
		a.cluster.Fail(kubetest.Fault{Err: kubetest.Unavailable()})
		a.end(t)
		began = time.Now()
		again := contend(t, c, "a", all, 0)
		if !again.leading.Load() || time.Since(began) > 0 {
			t.Errorf("back: leads: %v after %s, want at once", again.leading.Load(), time.Since(began))
		}
		again.end(t)
	})
}

func TestTheOtherBeginsAfterTheFirstHasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := kubelettest.NewCluster(), &atomic.Int32{}
		a := contend(t, c, "a", all, 2*time.Second)
		b := contend(t, c, "b", all, 0)
		time.Sleep(time.Minute)
		if b.leading.Load() || !a.leading.Load() {
			t.Fatal("the second leads while the first is well")
		}
		// The first cannot write any more.
		a.cluster.Fail(kubetest.Fault{Err: kubetest.Unavailable()})
		time.Sleep(lead.RenewWithin - lead.RenewEvery - 2*time.Second)
		if !a.leading.Load() {
			t.Error("the first gave up before its time")
		}
		time.Sleep(lead.Lasts + 5*time.Second)
		if a.leading.Load() || !b.leading.Load() {
			t.Errorf("after the Lease ran out: a leads %v, b leads %v; want b alone", a.leading.Load(), b.leading.Load())
		}
		// It is well again, but the Lease is the other's now.
		a.cluster.Heal()
		time.Sleep(time.Minute)
		if a.leading.Load() {
			t.Error("the first leads again although the second is well")
		}
		// The second stops and lets go: the first need not wait.
		b.end(t)
		synctest.Wait()
		if !a.leading.Load() {
			t.Error("the first does not take what the second let go")
		}
		lease, _ := kube.Get[*coordinationv1.Lease](c, kube.Leases, "kube-system", "loops")
		if got := fmt.Sprint(*lease.Spec.HolderIdentity, " ", *lease.Spec.LeaseTransitions); got != "a 2" {
			t.Errorf("lease: holder and transitions are %s, want a and as many as there were changes", got)
		}
		a.end(t)
	})
}

func TestALostRaceIsNotLeading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := kubelettest.NewCluster(), &atomic.Int32{}
		a := contend(t, c, "a", all, 0)
		a.end(t)
		// It tries twice at once: the Lease in memory is news to it.
		b := contend(t, kubetest.Intercept(c, kubetest.Fault{Verb: "update", Nth: 1, Err: kubetest.Conflict("leases", "loops")},
			kubetest.Fault{Verb: "update", Nth: 2, Err: kubetest.Conflict("leases", "loops")}), "b", all, 0)
		if b.leading.Load() {
			t.Error("it leads although its write lost the race")
		}
		time.Sleep(2 * time.Second)
		if !b.leading.Load() {
			t.Error("it did not try again")
		}
		b.end(t)
	})
}

func TestPartsThatDoNotStopAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := kubelettest.NewCluster(), &atomic.Int32{}
		a := contend(t, c, "a", all, time.Hour)
		a.cluster.Fail(kubetest.Fault{Err: kubetest.Unavailable()})
		began := time.Now()
		if err := <-a.done; err == nil || time.Since(began) > lead.Lasts {
			t.Errorf("got %v after %s, want an error before another may begin", err, time.Since(began))
		}
		time.Sleep(2 * time.Hour)
		a.stop()
	})
}

func TestFailedPartEndsItAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		err := lead.New(lead.Config{Cluster: kubelettest.NewCluster(), Namespace: "kube-system", Name: "loops", Identity: "a", Logger: slog.New(slog.DiscardHandler),
			Parts: func() []run.Func { return []run.Func{func(context.Context) error { return broken }} }})(t.Context())
		if !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	})
}
