// Package server is the node agent's HTTPS door: logs, exec, attach, port-forward, health and figures, at the paths that Kubernetes
// API servers use.
//
// It decides nothing about pods. Only the API server and the cluster's administrators get in, by client certificate; health is
// open. Start with Server.Handler, which holds the table of routes.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Pods is what the server needs to know about the pods of this node.
type Pods interface {
	Pods() []*corev1.Pod
	Pod(namespace, name string) *corev1.Pod
	// Ended returns a channel that is closed once the container no longer runs.
	Ended(ctx context.Context, key observe.Key, containerID string) <-chan struct{}
}

// Config is what a Server needs.
type Config struct {
	Addr     string
	TLS      *tls.Config // with a certificate and the client CA; required, for it is what tells who may run commands in containers
	Pods     Pods
	Runtime  cri.RuntimeService
	Images   cri.ImageManagerService
	Streamer Streamer // nil: no streams
	NodeName string
	DataDir  string
	Metrics  http.Handler // nil: none
	// Restarts tells whether a container that exited with a code will be started again.
	Restarts func(pod *corev1.Pod, container string, code int32) bool
	Logger   *slog.Logger
}

// Server serves one node.
type Server struct{ Config }

// New returns a Server that does not listen yet.
func New(config Config) (*Server, error) {
	if config.Pods == nil || config.Runtime == nil {
		return nil, errkind.New(errkind.Invalid, "kubelet server: Pods and Runtime are required")
	}
	if config.TLS == nil || config.TLS.ClientCAs == nil {
		return nil, errkind.New(errkind.Invalid, "kubelet server: TLS with ClientCAs is required: without it anybody could run commands in containers")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{config}, nil
}

// Run listens until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("serve the kubelet's port: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve answers on a listener until ctx ends; then streams are cut.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	config := s.TLS.Clone()
	config.NextProtos = []string{"http/1.1"} // streams take over the connection, which HTTP/2 does not allow
	if config.ClientAuth == tls.NoClientCert {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	listener = tls.NewListener(listener, config)
	streams, cut := context.WithCancel(ctx)
	defer cut()
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return streams },
		ErrorLog:    slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-streams.Done()
		_ = server.Close()
	}()
	err := server.Serve(listener)
	cut()
	<-stopped
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Handler is the table of routes.
func (s *Server) Handler() http.Handler {
	routes := []struct {
		pattern string
		open    bool // to anybody
		handler http.HandlerFunc
	}{
		{"GET /healthz", true, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }},
		{"GET /pods", false, s.pods},
		{"GET /runningpods/", false, s.pods},
		{"GET /metrics", false, s.metrics},
		{"GET /metrics/cadvisor", false, s.containerMetrics},
		{"GET /metrics/resource", false, s.containerMetrics},
		{"GET /stats/summary", false, s.summary},
		{"GET /containerLogs/{namespace}/{pod}/{container}", false, s.logs},
		{"/exec/{namespace}/{pod}/{container}", false, s.exec},
		{"/exec/{namespace}/{pod}/{uid}/{container}", false, s.exec},
		{"/attach/{namespace}/{pod}/{container}", false, s.attach},
		{"/attach/{namespace}/{pod}/{uid}/{container}", false, s.attach},
		{"/portForward/{namespace}/{pod}", false, s.portForward},
		{"/portForward/{namespace}/{pod}/{uid}", false, s.portForward},
		{"POST /run/{namespace}/{pod}/{container}", false, s.run},
	}
	mux := http.NewServeMux()
	for _, route := range routes {
		handler := route.handler
		if !route.open {
			handler = s.guard(handler)
		}
		mux.HandleFunc(route.pattern, handler)
	}
	return mux
}

// guard lets in whoever has a certificate of an administrator, which the API server has.
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		if leaf := r.TLS.VerifiedChains[0][0]; !allowed(leaf) {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s)", leaf.Subject.CommonName), http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func allowed(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Subject.Organization, api.GroupMasters)
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, pod := range s.Pods.Pods() {
		list.Items = append(list.Items, *pod)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(list); err != nil {
		s.Logger.Debug("cannot send pods", "err", err)
	}
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.Metrics == nil {
		http.NotFound(w, r)
		return
	}
	s.Metrics.ServeHTTP(w, r)
}

// fail answers with the status that an error's kind stands for.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	for kind, status := range map[error]int{
		errkind.NotFound: http.StatusNotFound, errkind.Invalid: http.StatusBadRequest, errkind.Precondition: http.StatusBadRequest,
		errkind.Denied: http.StatusForbidden, errkind.Unavailable: http.StatusServiceUnavailable,
	} {
		if errors.Is(err, kind) {
			code = status
		}
	}
	http.Error(w, err.Error(), code)
}

// find returns the pod that a request names, and what the runtime has of it.
func (s *Server) find(r *http.Request) (*corev1.Pod, observe.Pod, error) {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	pod := s.Pods.Pod(namespace, name)
	if pod == nil || r.PathValue("uid") != "" && string(pod.UID) != r.PathValue("uid") {
		return nil, observe.Pod{}, errkind.New(errkind.NotFound, "pod %q is not on node %s", namespace+"/"+name, s.NodeName)
	}
	observed, err := observe.Read(r.Context(), s.Runtime, observe.KeyOf(pod))
	return pod, observed, err
}

// findRunning returns the running container that a request names.
func (s *Server) findRunning(r *http.Request) (*observe.Container, error) {
	pod, observed, err := s.find(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("container")
	container := observed.Newest(name)
	if container == nil || container.State != observe.Running {
		return nil, errkind.New(errkind.NotFound, "container %q of pod %q is not running: %s", name, pod.Namespace+"/"+pod.Name, why(pod, name))
	}
	return container, nil
}

// why says in a word or two what a container does instead of running.
func why(pod *corev1.Pod, name string) string {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		switch {
		case s.Name != name:
		case s.State.Waiting != nil:
			return s.State.Waiting.Reason
		case s.State.Terminated != nil:
			return fmt.Sprintf("it ended with code %d", s.State.Terminated.ExitCode)
		}
	}
	return "it has not been created yet"
}
