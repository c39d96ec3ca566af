package compose

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type logFlags struct {
	follow, timestamps, noColor, noPrefix bool
	tail, since, until                    string
	index                                 int
}

func logs(s *session) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{Use: "logs [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		return s.logs(cmd.Context(), args, &f)
	}}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "Follow log output")
	cmd.Flags().BoolVarP(&f.timestamps, "timestamps", "t", false, "Show timestamps")
	cmd.Flags().BoolVar(&f.noColor, "no-color", false, "Produce monochrome output")
	cmd.Flags().BoolVar(&f.noPrefix, "no-log-prefix", false, "Don't print prefix in logs")
	cmd.Flags().StringVarP(&f.tail, "tail", "n", "all", "Number of lines to show from the end of the logs for each container")
	cmd.Flags().StringVar(&f.since, "since", "", "Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)")
	cmd.Flags().StringVar(&f.until, "until", "", "Show logs before a timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)")
	cmd.Flags().IntVar(&f.index, "index", 0, "index of the container if service has multiple replicas")
	return cmd
}

func (s *session) logs(ctx context.Context, args []string, f *logFlags) error {
	var tail *int64
	if f.tail != "all" && f.tail != "" {
		n, err := strconv.ParseInt(f.tail, 10, 64)
		if err != nil {
			return errkind.New(errkind.Invalid, "--tail takes a number or \"all\", not %q", f.tail)
		}
		if n >= 0 {
			tail = &n
		}
	}
	since, err := moment(f.since, s.Now())
	if err != nil {
		return err
	}
	until, err := moment(f.until, s.Now())
	if err != nil {
		return err
	}
	project, target, state, err := s.running(ctx, args, apply.Parts{Pods: true})
	if err != nil {
		return err
	}
	wanted := func(pod *corev1.Pod) bool {
		return pod.Labels[api.LabelProject] == project && (len(args) == 0 || slices.Contains(args, serviceOf(pod))) &&
			(f.index == 0 || plan.Number(pod) == f.index) && (pod.Labels[api.LabelOneOff] != "true")
	}
	w := s.newLogWriter(f.noColor, f.noPrefix, f.timestamps)
	opts := corev1.PodLogOptions{TailLines: tail}
	if !since.IsZero() {
		opts.SinceTime = &metav1.Time{Time: since}
	}
	if f.follow {
		if len(state.Pods) == 0 && len(state.Deployments) == 0 {
			return nil
		}
		return s.followLogs(ctx, target, project, opts, wanted, w)
	}
	return s.printLogs(ctx, target, project, state.Pods, opts, until, wanted, w)
}

func (s *session) followLogs(ctx context.Context, target apply.Target, project string, opts corev1.PodLogOptions, wanted func(*corev1.Pod) bool, w *logWriter) error {
	fl := &follower{target: target, project: project, wanted: wanted, w: w, first: opts, now: s.Now}
	return fl.run(ctx)
}

// moment reads a time, or a time span before now.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, errkind.New(errkind.Invalid, "%q is neither a time nor a time span", text)
}

// printLogs fetches the logs of all containers at once and prints their lines in the order of time.
func (s *session) printLogs(ctx context.Context, target apply.Target, project string, pods []*corev1.Pod, opts corev1.PodLogOptions, until time.Time,
	wanted func(*corev1.Pod) bool, w *logWriter) error {
	type entry struct {
		stamp, name, text string
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !wanted(p) || !hasLog(p) })
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(apply.Shown(project, a), apply.Shown(project, b)) })
	found := make([][]entry, len(pods))
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		w.name(logName(project, pod))
		wg.Go(func() {
			errs[i] = readLog(ctx, target, pod, opts, func(stamp, text string) {
				found[i] = append(found[i], entry{stamp, logName(project, pod), text})
			})
		})
	}
	wg.Wait()
	all := slices.Concat(found...)
	slices.SortStableFunc(all, func(a, b entry) int { return compareStamps(a.stamp, b.stamp) })
	for _, e := range all {
		if t, err := time.Parse(time.RFC3339Nano, e.stamp); err == nil && !until.IsZero() && t.After(until) {
			continue
		}
		w.line(e.name, e.stamp, e.text)
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("read the log of %s: %w", apply.Shown(project, pods[i]), err)
		}
	}
	return w.flush()
}

// compareStamps orders times written with different numbers of digits.
func compareStamps(a, b string) int {
	ta, errA := time.Parse(time.RFC3339Nano, a)
	tb, errB := time.Parse(time.RFC3339Nano, b)
	if errA != nil || errB != nil {
		return 0
	}
	return ta.Compare(tb)
}

// hasLog is true of a pod whose container has been started at least once.
func hasLog(pod *corev1.Pod) bool {
	if len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	c := pod.Status.ContainerStatuses[0]
	return c.ContainerID != "" && (c.State.Running != nil || c.State.Terminated != nil || c.RestartCount > 0)
}

// logName is the name a container's lines begin with.
func logName(project string, pod *corev1.Pod) string {
	return strings.TrimPrefix(apply.Shown(project, pod), project+"-")
}

// readLog reads a container's log with the time of each line.
func readLog(ctx context.Context, target apply.Target, pod *corev1.Pod, opts corev1.PodLogOptions, fn func(stamp, text string)) error {
	opts.Container = pod.Spec.Containers[0].Name
	opts.Timestamps = true
	stream, err := target.Logs(ctx, pod, opts)
	if err != nil {
		return err
	}
	defer stream.Close()
	r := bufio.NewReader(stream)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			stamp, text, _ := strings.Cut(line, " ")
			fn(stamp, text)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// logWriter prints log lines with their prefixes. It is safe for many goroutines.
type logWriter struct {
	lock       sync.Mutex
	out        *bufio.Writer
	colors     bool
	prefix     bool
	timestamps bool
	order      []string // names in order of appearance, for colours
	width      int
}

func (s *session) newLogWriter(noColor, noPrefix, timestamps bool) *logWriter {
	return &logWriter{out: bufio.NewWriter(s.Streams.Out), colors: s.Streams.Color() && !noColor, prefix: !noPrefix, timestamps: timestamps}
}

// name makes a name known: prefixes are as wide as the longest name so far.
func (w *logWriter) name(name string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.know(name)
}

func (w *logWriter) know(name string) int {
	i := slices.Index(w.order, name)
	if i < 0 {
		i = len(w.order)
		w.order = append(w.order, name)
		w.width = max(w.width, len(name))
	}
	return i
}

// line prints one line of a container.
func (w *logWriter) line(name, stamp, text string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	i := w.know(name)
	if w.prefix {
		prefix := fmt.Sprintf("%-*s  | ", w.width, name)
		if w.colors {
			prefix = "\x1b[" + colorCode(i) + "m" + prefix + "\x1b[0m"
		}
		w.out.WriteString(prefix)
	}
	if w.timestamps {
		w.out.WriteString(stamp + " ")
	}
	w.out.WriteString(text + "\n")
}

// say prints a line of our own among the containers'.
func (w *logWriter) say(text string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.out.WriteString(text + "\n")
	_ = w.out.Flush() // a reader that went away is noticed by the next write
}

func (w *logWriter) flush() error {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.out.Flush()
}

// colorCode gives each container a colour: five, then the same bright.
func colorCode(i int) string {
	codes := []string{"36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1"}
	return codes[i%len(codes)]
}
