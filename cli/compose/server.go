package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) && errors.Is(err, errkind.Unavailable) || errors.Is(err, errNoConfig)
}

// errNoConfig is the root of what NoConfig returns.
var errNoConfig = errors.New("there is no kubeconfig")

// NoConfig is the error of Connect when no cluster was ever started here.
func NoConfig(path string) error { return fmt.Errorf("%w at %s", errNoConfig, path) }

// early is what was asked for before it was known whether it is needed: the cluster's state and the engine's images, while the files load.
type early struct {
	done   chan struct{}
	name   string
	target apply.Target
	state  *plan.State
	err    error
	images []socket.Image
}

// lookAhead begins to read the state of the project that the files seem to be about.
// The function returned ends it, used or not.
func (s *session) lookAhead(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	e := &early{done: make(chan struct{})}
	s.early = e
	go func() {
		defer close(e.done)
		if e.name, e.err = s.name(); e.err != nil {
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			// Without this the list is asked for again, and that request's error is told.
			e.images, _ = s.Engine.Images(ctx)
		})
		if e.target, _, e.err = s.Connect(); e.err == nil {
			e.state, e.err = e.target.State(ctx, plan.NamespaceName(e.name), apply.Everything())
		}
		wg.Wait()
	}()
	return func() {
		cancel()
		<-e.done
	}
}

// takeEarly returns what lookAhead found, once; nil if it is of no use.
func (s *session) takeEarly(namespace string) *early {
	e := s.early
	if e == nil {
		return nil
	}
	s.early = nil
	<-e.done
	if e.err != nil || plan.NamespaceName(e.name) != namespace {
		return nil
	}
	return e
}

// ensure connects for verbs that need a cluster, and starts one on this machine if there is none.
func (s *session) ensure(ctx context.Context, namespace string, parts apply.Parts) (apply.Target, *plan.State, error) {
	t, _, err := s.Connect()
	if err == nil {
		var state *plan.State
		if state, err = t.State(ctx, namespace, parts); err == nil {
			return t, state, nil
		}
	}
	if !unreachable(err) || s.StartServer == nil {
		return nil, nil, err
	}
	fmt.Fprintln(s.Streams.Err, "No cluster is running here: starting one on this machine, in the background")
	if err := s.StartServer(ctx); err != nil {
		return nil, nil, fmt.Errorf("start a server: %w", err)
	}
	return s.awaitServer(ctx, namespace, parts)
}

// awaitServer asks again and again until the fresh server answers.
func (s *session) awaitServer(ctx context.Context, namespace string, parts apply.Parts) (apply.Target, *plan.State, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		t, _, err := s.Connect()
		var state *plan.State
		if err == nil {
			state, err = t.State(ctx, namespace, parts)
		}
		if err == nil {
			// The engine's socket may appear a moment after the API.
			_, err = s.Engine.Images(ctx)
		}
		if err == nil {
			return t, state, nil
		}
		if !unreachable(err) && !apierrors.IsServiceUnavailable(err) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return nil, nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("the server that was started does not answer: %w", err)
		}
	}
}
