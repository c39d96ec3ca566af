package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// follower prints the logs of a project's containers as they come: those that run, those that start later, and those that start again. It ends
// when the project has no more containers, or with its context.
type follower struct {
	target  apply.Target
	project string
	wanted  func(*corev1.Pod) bool
	w       *logWriter
	first   corev1.PodLogOptions // for containers that are there at the beginning
	now     func() time.Time
	// fresh are containers that are new although they may be there already: their logs are shown from the beginning.
	fresh map[string]bool
	// exits, if set, is told of each container that has ended, after its last line.
	exits func(pod *corev1.Pod, code int32)
	// over, if set, is asked after each event whether all is over; the pods are the wanted ones.
	over func(pods map[string]*corev1.Pod) bool

	streams sync.WaitGroup
	seen    map[string]chan struct{} // by container id: closed when the container's log has been read to its end
	told    map[string]bool          // container ids whose end has been told
	pods    map[string]*corev1.Pod
}

func (f *follower) run(ctx context.Context) error {
	f.seen, f.told, f.pods = map[string]chan struct{}{}, map[string]bool{}, map[string]*corev1.Pod{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	flushed := make(chan struct{})
	go f.flushing(ctx, flushed)
	synced := false
	var err error
	for {
		synced = synced && err == nil
		err = f.target.WatchPods(ctx, plan.NamespaceName(f.project), func(e apply.PodEvent) bool {
			if e.Synced {
				synced = true
			} else if f.wanted(e.Pod) {
				f.event(ctx, e, synced)
			}
			return !synced || !f.finished()
		})
		if away(err) && ctx.Err() == nil {
			// The containers outlive the server. It will be back, and their logs with it.
			pause(ctx, retryAfter)
			continue
		}
		if err != nil || f.over != nil || f.gone(ctx) {
			break
		}
	}
	if err == nil {
		f.streams.Wait()
	}
	cancel()
	f.streams.Wait()
	<-flushed
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, f.w.flush())
}

// flushing shows what was written at short intervals, so that a burst of lines costs few writes.
func (f *follower) flushing(ctx context.Context, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = f.w.flush() // reported at the end
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) finished() bool {
	if f.over != nil {
		return f.over(f.pods)
	}
	return len(f.pods) == 0
}

// gone makes sure that a project without containers is not just between two of them.
func (f *follower) gone(ctx context.Context) bool {
	state, err := f.target.State(ctx, plan.NamespaceName(f.project), apply.Parts{Deployments: true})
	if err != nil {
		return true
	}
	for _, d := range state.Deployments {
		if d.DeletionTimestamp == nil && (d.Spec.Replicas == nil || *d.Spec.Replicas > 0) {
			pause(ctx, retryAfter)
			return ctx.Err() != nil
		}
	}
	return true
}

// event follows a container that has started and tells of one that has ended.
func (f *follower) event(ctx context.Context, e apply.PodEvent, synced bool) {
	if e.Deleted {
		delete(f.pods, e.Pod.Name)
	} else {
		f.pods[e.Pod.Name] = e.Pod
	}
	pod := e.Pod
	if len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	c := pod.Status.ContainerStatuses[0]
	if c.ContainerID == "" {
		return
	}
	if f.seen[c.ContainerID] == nil && hasLog(pod) && !e.Deleted {
		read := make(chan struct{})
		f.seen[c.ContainerID] = read
		opts := corev1.PodLogOptions{}
		if !synced && !f.fresh[apply.Shown(f.project, pod)] {
			opts = f.first
		}
		opts.Follow = true
		f.w.name(logName(f.project, pod))
		f.streams.Go(func() {
			defer close(read)
			f.stream(ctx, pod, opts)
		})
	}
	f.tell(ctx, pod, c)
}

// stream prints one container's log until the container has ended. A stream that breaks off before, because a server went away, is opened again
// where it ended.
func (f *follower) stream(ctx context.Context, pod *corev1.Pod, opts corev1.PodLogOptions) {
	name := logName(f.project, pod)
	var last, resumed time.Time
	for {
		err := readLog(ctx, f.target, pod, opts, func(stamp, text string) {
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				if !at.After(resumed) {
					return // it was shown before the break
				}
				last = at
			}
			f.w.line(name, stamp, text)
		})
		if ctx.Err() != nil || err == nil || apierrors.IsNotFound(err) {
			return
		}
		if !away(err) {
			f.w.say(fmt.Sprintf("%s: its log broke off: %v", name, err))
			return
		}
		pause(ctx, retryAfter)
		if !last.IsZero() {
			resumed = last
			opts.SinceTime, opts.TailLines = &metav1.Time{Time: last}, nil
		}
	}
}

// retryAfter is the pause before a server that does not answer is asked again.
const retryAfter = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// away is true of errors that a server causes which is being stopped, started, or replaced.
func away(err error) bool {
	return err != nil && (unreachable(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		strings.Contains(err.Error(), "connection lost") || strings.Contains(err.Error(), "GOAWAY"))
}

// tell passes on the end of a container, once for each time it ran.
func (f *follower) tell(ctx context.Context, pod *corev1.Pod, c corev1.ContainerStatus) {
	end, id := c.State.Terminated, c.ContainerID
	if end == nil {
		if end = c.LastTerminationState.Terminated; end != nil {
			id = end.ContainerID
		}
	}
	if end == nil || f.exits == nil || id == "" {
		return
	}
	// An end that came before we looked is no news.
	read := f.seen[id]
	if f.told[id] || read == nil {
		return
	}
	f.told[id] = true
	f.streams.Go(func() {
		select {
		case <-read:
		case <-ctx.Done():
		case <-time.After(time.Second): // the log of a container that was removed with force may never end
		}
		f.exits(pod, end.ExitCode)
	})
}

// sortNames sorts names like worker-2 and worker-10 by their numbers.
func sortNames(names []string) {
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) && strings.TrimRight(a, "0123456789") == strings.TrimRight(b, "0123456789") {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
}

// selected picks the long-running containers of the given services.
func selected(project string, services []string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return pod.Labels[api.LabelProject] == project && slices.Contains(services, pod.Labels[api.LabelService])
	}
}
