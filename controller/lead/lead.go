// Package lead runs parts on one of several servers at a time: on the one that holds a Lease.
//
// A leader that cannot renew its Lease for RenewWithin stops its parts, well before another may take it after Lasts; then it contends again. A server
// takes a Lease that is its own already at once, so that one that comes back, or is alone, does not wait. It knows nothing of controllers. Start with
// Decide in plan.go.
package lead

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// Times of a Lease. What lies between RenewWithin and Lasts is the time in which parts must have stopped.
const (
	Lasts       = 15 * time.Second // how long others wait after the holder's last sign of life
	RenewWithin = 10 * time.Second // how long the holder goes on without having renewed
	RenewEvery  = 5 * time.Second
	retryEvery  = time.Second
	freeWithin  = time.Second // how long a server that stops tries to let go
)

// Config describes one contender.
type Config struct {
	Cluster kube.Cluster
	// Namespace and Name of the Lease.
	Namespace, Name string
	// Identity tells this server from all others, and is the same when it comes back. Two that live at the same time may never share one.
	Identity string
	// Parts makes what runs while this server leads, anew each time.
	Parts  func() []run.Func
	Clock  clock.Clock // nil: the real one
	Logger *slog.Logger
}

// contender is one server's side of the contest.
type contender struct {
	Config
	news chan struct{} // holds a token when the Lease may have changed

	mu       sync.Mutex
	revision string    // of the Lease as last seen
	seen     time.Time // when that was
}

// New returns the contest as a long-lived part.
func New(config Config) run.Func {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return func(ctx context.Context) error {
		c := &contender{Config: config, news: make(chan struct{}, 1)}
		err := kube.Watch(ctx, c.Cluster, kube.Leases, func(old, now *coordinationv1.Lease) {
			if l := either(now, old); l.Name == c.Name && l.Namespace == c.Namespace {
				c.wake()
			}
		})
		if err != nil {
			return fmt.Errorf("watch Lease %s/%s: %w", c.Namespace, c.Name, err)
		}
		for ctx.Err() == nil {
			since, ok := c.acquire(ctx)
			if !ok {
				return nil
			}
			if err := c.lead(ctx, since); err != nil {
				return err
			}
		}
		return nil
	}
}

func either(a, b *coordinationv1.Lease) *coordinationv1.Lease {
	if a != nil {
		return a
	}
	return b
}

func (c *contender) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// look returns the Lease in memory, and when its state was first seen.
func (c *contender) look() (*coordinationv1.Lease, time.Time) {
	lease, ok := kube.Get[*coordinationv1.Lease](c.Cluster, kube.Leases, c.Namespace, c.Name)
	if !ok {
		return nil, time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if lease.ResourceVersion != c.revision {
		c.revision, c.seen = lease.ResourceVersion, c.Clock.Now()
	}
	return lease, c.seen
}

// acquire waits until the Lease is this server's, and returns since when. False: ctx ended.
func (c *contender) acquire(ctx context.Context) (since time.Time, ok bool) {
	for {
		lease, seen := c.look()
		now := c.Clock.Now()
		step := Decide(c.Identity, lease, seen, now)
		wait := step.After
		if step.Verb != Wait {
			err := c.write(ctx, lease, now)
			if err == nil {
				c.Logger.Info("leads", "lease", c.Name, "identity", c.Identity)
				return now, true
			}
			c.lost(ctx, "take", err)
			wait = retryEvery
		}
		if !c.pause(ctx, wait) {
			return time.Time{}, false
		}
	}
}

// pause waits for the time to pass or the Lease to change; false: ctx ended.
func (c *contender) pause(ctx context.Context, wait time.Duration) bool {
	timer := c.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
	case <-c.news:
	}
	return true
}

// write makes the Lease this server's, or renews it. The revision in it makes sure that nobody else was faster.
func (c *contender) write(ctx context.Context, lease *coordinationv1.Lease, now time.Time) error {
	if lease == nil {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
		_, err := c.Cluster.Create(ctx, held(lease, c.Identity, Lasts, now))
		return err
	}
	_, err := c.Cluster.Update(ctx, held(lease, c.Identity, Lasts, now))
	return err
}

func (c *contender) lost(ctx context.Context, verb string, err error) {
	level := slog.LevelWarn
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		level = slog.LevelDebug
	}
	if ctx.Err() == nil {
		c.Logger.Log(ctx, level, "lease not written", "lease", c.Name, "verb", verb, "err", err)
	}
}

// lead runs the parts until the Lease is lost or ctx ends, and returns when they have ended.
func (c *contender) lead(ctx context.Context, since time.Time) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run.Group(inner, c.Parts()...) }()
	last, alive := c.hold(inner, since, ended)
	stop()
	if !alive {
		return <-ended
	}
	timer := c.Clock.NewTimer(last.Add(Lasts).Sub(c.Clock.Now()))
	defer timer.Stop()
	select {
	case err := <-ended:
		c.free(ctx)
		return err
	case <-timer.C():
		return errkind.New(errkind.Internal, "lease %s/%s was lost and not all that it allows has stopped in time: another server may begin", c.Namespace, c.Name)
	}
}

// hold renews the Lease until that is no longer possible, ctx ends, or the parts do. It returns when it was renewed last, and whether the parts
// are still to be waited for.
func (c *contender) hold(ctx context.Context, last time.Time, ended chan error) (time.Time, bool) {
	wait := RenewEvery
	for {
		timer := c.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return c.Clock.Now(), true
		case err := <-ended:
			timer.Stop()
			ended <- err
			return last, false
		case <-timer.C():
		}
		now := c.Clock.Now()
		lease, seen := c.look()
		if step := Decide(c.Identity, lease, seen, now); step.Verb == Wait {
			c.Logger.Warn("another server leads", "lease", c.Name)
			return last, true
		}
		within, cancel := context.WithDeadline(ctx, last.Add(RenewWithin))
		err := c.write(within, lease, now)
		cancel()
		switch {
		case err == nil:
			last, wait = now, RenewEvery
			continue
		case ctx.Err() != nil:
			return c.Clock.Now(), true
		}
		c.lost(ctx, "renew", err)
		if wait = min(retryEvery, last.Add(RenewWithin).Sub(c.Clock.Now())); wait <= 0 {
			c.Logger.Warn("leads no longer", "lease", c.Name, "err", err)
			return last, true
		}
	}
}

// free lets go of the Lease if it is still this server's, so that another need not wait.
func (c *contender) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeWithin)
	defer cancel()
	lease, seen := c.look()
	if now := c.Clock.Now(); lease != nil && Decide(c.Identity, lease, seen, now).Verb == Renew {
		// A server that stops may not answer any more; then the Lease runs out by its time.
		_, _ = c.Cluster.Update(ctx, free(lease, now))
	}
}
