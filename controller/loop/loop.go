// Package loop is the machinery that all controllers share: a keyed queue, workers and back-off.
//
// A controller is a Reconcile function that brings one key's object to its wanted state, however it got there. The loop guarantees
// that one key is never reconciled twice at the same time, that a failure is retried with growing delays, and that no
// change noted with Enqueue is lost. It knows nothing of kinds. Start with Loop.
package loop

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

// Key names one object. Namespace is "" for cluster-scoped kinds.
type Key struct {
	Namespace, Name string
	// Resource is set by loops over several resources only.
	Resource schema.GroupVersionResource
}

// String returns "namespace/name", after the resource if there is one.
func (k Key) String() string {
	s := k.Name
	if k.Namespace != "" {
		s = k.Namespace + "/" + s
	}
	if k.Resource.Resource != "" {
		s = k.Resource.GroupResource().String() + " " + s
	}
	return s
}

// KeyOf returns an object's key.
func KeyOf(obj kube.Object) Key { return Key{Namespace: obj.GetNamespace(), Name: obj.GetName()} }

// Deps is what every controller is given.
type Deps struct {
	Cluster kube.Cluster
	Logger  *slog.Logger
	Clock   clock.Clock // the real one outside tests
	Events  events.Sink // about what the controller did; events.Discard where nobody reads them
	Metrics *Metrics    // nil: none
}

// Config describes one loop.
type Config struct {
	Name string // for logs
	// Reconcile brings the key's object to its wanted state. again > 0 asks for another call after that time.
	Reconcile func(ctx context.Context, key Key) (again time.Duration, err error)
	// Watch registers the loop's interest: it calls the Cluster's Watch functions, whose callbacks call Enqueue. It returns when
	// the initial state has been delivered; workers start after it.
	Watch   func(ctx context.Context, enqueue func(Key)) error
	Workers int           // keys reconciled at the same time; 0: 4
	MinWait time.Duration // delay after the first failure; 0: 20 ms
	MaxWait time.Duration // longest delay; 0: 1 min
	Deps    Deps
}

// Run returns the loop as a long-lived part.
func Run(config Config) run.Func {
	if config.Workers == 0 {
		config.Workers = 4
	}
	if config.MinWait == 0 {
		config.MinWait = 20 * time.Millisecond
	}
	if config.MaxWait == 0 {
		config.MaxWait = time.Minute
	}
	if config.Deps.Clock == nil {
		config.Deps.Clock = clock.RealClock{}
	}
	return func(ctx context.Context) error { return config.run(ctx) }
}

func (c Config) run(ctx context.Context) error {
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[Key](c.MinWait, c.MaxWait),
		workqueue.TypedRateLimitingQueueConfig[Key]{Clock: clockWithTicker{c.Deps.Clock}})
	defer queue.ShutDown()
	defer c.Deps.Metrics.follow(c.Name, queue.Len)()
	enqueue := func(key Key) {
		c.Deps.Metrics.added(c.Name)
		queue.Add(key)
	}
	if err := c.Watch(ctx, enqueue); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range c.Workers {
		wg.Go(func() {
			for c.one(ctx, queue) {
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	wg.Wait()
	return nil
}

// one handles one key; false means the queue has ended.
func (c Config) one(ctx context.Context, queue workqueue.TypedRateLimitingInterface[Key]) bool {
	key, ended := queue.Get()
	if ended {
		return false
	}
	defer queue.Done(key)
	began := time.Now()
	again, err := c.Reconcile(ctx, key)
	c.Deps.Metrics.worked(c.Name, time.Since(began), err != nil)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		// Losing a race with another writer is the normal way of optimistic writes, so it is no warning.
		level := slog.LevelWarn
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			level = slog.LevelDebug
		}
		c.Deps.Logger.Log(ctx, level, "reconcile failed", "loop", c.Name, "key", key.String(), "err", err)
		queue.AddRateLimited(key)
	default:
		queue.Forget(key)
		if again > 0 {
			queue.AddAfter(key, again)
		}
	}
	return true
}

// clockWithTicker lets a plain clock serve where the queue wants tickers too: it looks at its waiting keys now and then by one, which changes nothing.
type clockWithTicker struct{ clock.Clock }

func (c clockWithTicker) NewTicker(d time.Duration) clock.Ticker {
	return clock.RealClock{}.NewTicker(d)
}
