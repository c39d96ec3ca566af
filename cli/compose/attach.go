package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// attachment is an `up` in the foreground: the containers' logs, until they all have ended or the user wants them to.
type attachment struct {
	s     *session
	ready *prepared
	flags *upFlags
	w     *logWriter

	lock     sync.Mutex
	code     int  // of the program
	decided  bool // the code is settled
	stopping bool // the end has been ordered
	abort    chan struct{}
	exited   map[string]int32 // service -> last exit code
}

// attached carries the plan out with the containers' logs on stdout. The first interrupt stops them in good order, the second kills them.
func (s *session) attached(ctx context.Context, ready *prepared, f *upFlags) error {
	a := &attachment{s: s, ready: ready, flags: f, w: s.newLogWriter(f.noColor, f.noPrefix, f.timestamps), abort: make(chan struct{}, 1),
		exited: map[string]int32{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := s.begin("up")
	logsEnded := make(chan error, 1)
	var once sync.Once
	begin := func() {
		once.Do(func() {
			p.end()
			fmt.Fprintln(s.Streams.Out, "Attaching to "+strings.Join(a.names(), ", "))
			go func() { logsEnded <- a.follow(ctx) }()
		})
	}
	started := make(chan error, 1)
	report := func(e apply.Event) {
		if e.State == apply.Failed || !p.tty || p.stop != nil {
			p.event(e)
		}
	}
	upCtx, stopUp := context.WithCancel(ctx)
	defer stopUp()
	go func() {
		started <- apply.Up(upCtx, ready.target, ready.load.Project, ready.plan, apply.UpOptions{OnStart: begin}, report)
	}()
	defer p.end()
	var ended <-chan error = logsEnded
	for {
		select {
		case err := <-started:
			started = nil
			if err != nil && !errors.Is(err, context.Canceled) {
				return err // what was started stays, as with `up -d`
			}
			begin()
			if ended == nil && len(a.abort) == 0 {
				return a.result()
			}
		case err := <-ended:
			// Containers may have ended before they were all seen to have started.
			ended = nil
			if err != nil || started == nil && len(a.abort) == 0 {
				return errors.Join(err, a.result())
			}
		case <-a.abort:
			stopUp()
			settled(started)
			fmt.Fprintln(s.Streams.Err, "Aborting on container exit...")
			if err := a.stop(ctx, nil); err != nil {
				return err
			}
			return a.lastWords(ended)
		case <-s.Interrupts:
			stopUp()
			settled(started)
			if err := a.interrupted(ctx); err != nil {
				return err
			}
			return a.lastWords(ended)
		}
	}
}

// settled waits for the carrying out of a plan that has been called off, if it has not ended before.
func settled(started <-chan error) {
	if started != nil {
		<-started
	}
}

// lastWords waits for the last log lines and exit codes of containers that have been stopped.
func (a *attachment) lastWords(ended <-chan error) error {
	if ended == nil {
		return a.result()
	}
	select {
	case err := <-ended:
		if err != nil {
			return err
		}
	case <-time.After(2 * time.Second): // they are not worth more
	}
	return a.result()
}

func (a *attachment) result() error {
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.code != 0 {
		return &Exit{Code: a.code}
	}
	return nil
}

// names are the containers that are attached to, sorted.
func (a *attachment) names() []string {
	var out []string
	for _, c := range a.ready.plan.Containers {
		if c.Change != plan.Remove && slices.Contains(a.services(), c.Service) {
			out = append(out, strings.TrimPrefix(c.Name, a.ready.plan.Project+"-"))
		}
	}
	sortNames(out)
	return out
}

// services are those whose logs are shown.
func (a *attachment) services() []string {
	var out []string
	for _, name := range a.ready.plan.Services {
		svc, ok := a.ready.load.Project.Service(name)
		if !ok || svc.NoAttach || slices.Contains(a.flags.noAttach, name) {
			continue
		}
		if len(a.flags.attach) > 0 && !slices.Contains(a.flags.attach, name) {
			continue
		}
		out = append(out, name)
	}
	return out
}

// follow shows the logs until all containers have ended.
func (a *attachment) follow(ctx context.Context) error {
	none := int64(0)
	fresh := map[string]bool{}
	for _, c := range a.ready.plan.Containers {
		fresh[c.Name] = c.Change != plan.Keep
	}
	f := &follower{target: a.ready.target, project: a.ready.plan.Project, wanted: selected(a.ready.plan.Project, a.services()), w: a.w,
		first: corev1.PodLogOptions{TailLines: &none}, fresh: fresh, now: a.s.Now, exits: a.exit, over: a.over}
	return f.run(ctx)
}

// over is true when every container the plan wanted has ended for good, or all are gone.
func (a *attachment) over(pods map[string]*corev1.Pod) bool {
	if len(pods) == 0 {
		a.lock.Lock()
		defer a.lock.Unlock()
		return a.stopping || len(a.exited) > 0
	}
	want := 0
	for _, c := range a.ready.plan.Containers {
		if c.Change != plan.Remove && slices.Contains(a.services(), c.Service) {
			want++
		}
	}
	ended := 0
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			return false
		}
		ended++
	}
	return ended >= want
}

// exit tells of a container's end and decides whether that is the end of all.
func (a *attachment) exit(pod *corev1.Pod, code int32) {
	service := pod.Labels[api.LabelService]
	again := ""
	if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
		again = " (restarting)"
	}
	a.w.say(fmt.Sprintf("%s exited with code %d%s", logName(a.ready.plan.Project, pod), code, again))
	a.lock.Lock()
	defer a.lock.Unlock()
	a.exited[service] = code
	from := a.flags.exitCodeFrom
	if from == service {
		a.code, a.decided = int(code), true
	}
	failed := a.flags.abortOnFailure && code != 0
	if (a.flags.abortOnExit || failed) && again == "" && !a.stopping {
		a.stopping = true
		if !a.decided && from == "" {
			a.code = int(code)
		}
		a.abort <- struct{}{}
	}
}

// stop ends the containers of the plan's services.
func (a *attachment) stop(ctx context.Context, grace *time.Duration) error {
	a.lock.Lock()
	a.stopping = true
	a.lock.Unlock()
	if grace == nil && a.flags.timeoutSet {
		d := time.Duration(a.flags.timeout) * time.Second
		grace = &d
	}
	words := ""
	if grace != nil && *grace == 0 {
		words = "Killing"
	}
	state, err := a.ready.target.State(ctx, a.ready.plan.Namespace, apply.Parts{Deployments: true, Pods: true})
	if err != nil {
		return err
	}
	// Log lines go on appearing meanwhile: progress in place would be torn apart by them.
	p := a.s.beginPlain()
	return apply.Stop(ctx, a.ready.target, a.ready.plan.Project, a.ready.plan.Services, state, apply.StopOptions{Grace: grace, Words: words}, p.event)
}

// interrupted stops the containers; a second interrupt kills them.
func (a *attachment) interrupted(ctx context.Context) error {
	text := "Gracefully Stopping... press Ctrl+C again to force"
	if a.s.Streams.ErrColor() {
		text = "\x1b[1;31m" + text + "\x1b[0m"
	}
	fmt.Fprintln(a.s.Streams.Err, text)
	stopCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.stop(stopCtx, nil) }()
	select {
	case err := <-done:
		return err
	case <-a.s.Interrupts:
		cancel()
		<-done
		none := time.Duration(0)
		if err := a.stop(ctx, &none); err != nil {
			return err
		}
		return &Exit{Code: 130}
	}
}
