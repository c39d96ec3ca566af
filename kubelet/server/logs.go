package server

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/crilog"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// logs sends a container's log, and what is added to it for as long as a follower stays.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	opts, streams, previous, err := logOptions(r.URL.Query(), time.Now())
	if err != nil {
		fail(w, err)
		return
	}
	pod, observed, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	container, err := s.logOf(pod, &observed, r.PathValue("container"), previous)
	if err != nil {
		fail(w, err)
		return
	}
	if opts.Follow {
		opts.Ended = s.Pods.Ended(r.Context(), observe.KeyOf(pod), container.ID)
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w, control: http.NewResponseController(w)}
	if opts.Follow {
		_ = out.control.Flush() // the follower learns at once that it is connected
	}
	if err := crilog.Read(r.Context(), container.LogPath, opts, streams.of(crilog.Stdout, out), streams.of(crilog.Stderr, out)); err != nil && !out.begun {
		fail(w, err)
	}
}

// flusher sends every line on at once.
type flusher struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}

// logOf chooses the incarnation of a container whose log is meant.
func (s *Server) logOf(pod *corev1.Pod, observed *observe.Pod, name string, previous bool) (*observe.Container, error) {
	if !hasContainer(pod, name) {
		return nil, errkind.New(errkind.NotFound, "container %q not found in pod %q", name, pod.Name)
	}
	var begun []observe.Container
	for _, c := range observed.Named(name) {
		if c.State == observe.Running || c.State == observe.Exited || c.State == observe.Unknown {
			begun = append(begun, c)
		}
	}
	switch {
	case !previous && len(begun) > 0:
		return &begun[0], nil
	case !previous:
		return nil, errkind.New(errkind.Invalid, "container %q in pod %q is waiting to start: %s", name, pod.Name, why(pod, name))
	}
	// While a container waits to be started again, the one that just ended is the previous one.
	if len(begun) > 0 && begun[0].State == observe.Exited && s.Restarts != nil && s.Restarts(pod, name, begun[0].ExitCode) {
		return &begun[0], nil
	}
	if len(begun) > 1 {
		return &begun[1], nil
	}
	return nil, errkind.New(errkind.Invalid, "previous terminated container %q in pod %q not found", name, pod.Name)
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return true
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// stream is the one that is asked for; "" for both.
type stream crilog.Stream

// of returns the writer for a stream, or nil if it is not asked for.
func (s stream) of(which crilog.Stream, out io.Writer) io.Writer {
	if s != "" && s != stream(which) {
		return nil
	}
	return out
}

// logOptions reads a query as the API's PodLogOptions.
func logOptions(q url.Values, now time.Time) (opts crilog.Options, only stream, previous bool, err error) {
	opts.Tail = -1
	flags := map[string]*bool{"follow": &opts.Follow, "timestamps": &opts.Timestamps, "previous": &previous}
	for name, target := range flags {
		if text := q.Get(name); text != "" {
			if *target, err = strconv.ParseBool(text); err != nil {
				return opts, only, false, errkind.New(errkind.Invalid, "%s: %q is neither true nor false", name, text)
			}
		}
	}
	since := int64(-1)
	numbers := map[string]*int64{"tailLines": &opts.Tail, "limitBytes": &opts.Limit, "sinceSeconds": &since}
	for name, target := range numbers {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return opts, only, false, errkind.New(errkind.Invalid, "%s: %q is not a number of at least 0", name, text)
			}
			*target = n
		}
	}
	if since >= 0 {
		opts.Since = now.Add(-time.Duration(since) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		if opts.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return opts, only, false, errkind.New(errkind.Invalid, "sinceTime: %q is not a time such as 2006-01-02T15:04:05Z", text)
		}
	}
	switch name := q.Get("stream"); name {
	case "", "All":
	case "Stdout":
		only = stream(crilog.Stdout)
	case "Stderr":
		only = stream(crilog.Stderr)
	default:
		return opts, only, false, errkind.New(errkind.Invalid, "stream: %q is none of All, Stdout, Stderr", name)
	}
	return opts, only, previous, nil
}
