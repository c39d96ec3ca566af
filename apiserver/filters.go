package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/metrics"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// exchange is what the filters find out about one request. It rides in the request's context.
type exchange struct {
	call   rest.Call  // what is to be done, for resources
	target target     // what the path and method say
	user   authn.User // who asks

	// The rows of what it asks for, as they were when it came: nil if nothing is served there.
	kind *registry.Kind
	sub  *registry.Subresource
}

// longRunning requests are not bounded in number or time.
func (x *exchange) longRunning() bool {
	return x.target.verb == "watch" || x.sub != nil && x.sub.Stream != ""
}

// known is true when what the path names is served.
func (x *exchange) known() bool {
	return x.kind != nil && (x.target.subresource == "" || x.sub != nil)
}

type exchangeKey struct{}

func exchangeOf(req *http.Request) *exchange {
	x, _ := req.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// filter is one step on a request's way.
type filter struct {
	name string
	wrap func(next http.Handler) http.Handler
}

// filters is the way of every request, outermost first.
func (s *Server) filters() []filter {
	return []filter{
		{"begin", s.beginExchange},     // the record that the others fill
		{"measure", s.measure},         // counts everything, refusals and panics too
		{"recover", s.recoverPanics},   // a defect costs one request, not the server
		{"identify", s.identify},       // who
		{"impersonate", s.impersonate}, // for whom
		{"authorize", s.authorize},     // may they
		{"limit", s.limit},             // is there room
	}
}

func chain(filters []filter, handler http.Handler) http.Handler {
	for i := len(filters) - 1; i >= 0; i-- {
		handler = filters[i].wrap(handler)
	}
	return handler
}

// busy counts the requests being served.
type busy struct {
	mu   sync.Mutex
	n    int
	wait chan struct{} // closed when n is 0, once somebody has asked
}

func (b *busy) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += n
	if b.n == 0 && b.wait != nil {
		close(b.wait)
		b.wait = nil
	}
}

// idle returns a channel that is closed when no request is being served.
func (b *busy) idle() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := make(chan struct{})
	if b.n == 0 {
		close(ch)
	} else {
		b.wait = ch
	}
	return ch
}

func (s *Server) beginExchange(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.busy.add(1)
		defer s.busy.add(-1)
		x := &exchange{target: parseTarget(req)}
		if x.target.resource != "" {
			x.kind = s.registry.Current().ByResource(x.target.gvr())
		}
		if x.kind != nil && x.target.subresource != "" {
			x.sub = x.kind.Subresource(x.target.subresource)
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), exchangeKey{}, x)))
	})
}

// recorder remembers the status code.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(body []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(body)
}

// Unwrap lets http.ResponseController reach what is underneath.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (s *Server) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		x := exchangeOf(req)
		labels := x.target.labels(x.known())
		recorded := &recorder{ResponseWriter: w}
		began := time.Now()
		if x.longRunning() {
			defer s.metrics.Long(labels)()
		}
		next.ServeHTTP(recorded, req)
		if recorded.code == 0 {
			recorded.code = http.StatusOK
		}
		s.metrics.Done(labels, recorded.code, time.Since(began))
	})
}

// labels says what a request is counted as. Whatever a client can make up, methods and paths, is one of few words here: each new word
// would be a row of figures that is kept for ever, and nobody has to log in to send one.
func (t target) labels(known bool) metrics.Labels {
	l := metrics.Labels{Verb: metrics.Verb(t.verb)}
	if t.resource == "" {
		l.Subresource = metrics.Path(t.parts[0])
		return l
	}
	if !known {
		return l
	}
	l.Group, l.Version, l.Resource, l.Subresource = t.group, t.version, t.resource, t.subresource
	switch {
	case t.name != "":
		l.Scope = "resource"
	case t.namespace != "":
		l.Scope = "namespace"
	default:
		l.Scope = "cluster"
	}
	return l
}

func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(fault) // the way a handler cuts a connection off
			}
			s.config.Logger.Error("panic while serving a request", "method", req.Method, "path", req.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			if recorded, ok := w.(*recorder); ok && recorded.code != 0 {
				panic(http.ErrAbortHandler) // half an answer is out; nothing honest can follow
			}
			rest.WriteError(w, req, apierrors.NewInternalError(fmt.Errorf("this request caused apiserver to panic. Look in the logs for details")))
		}()
		next.ServeHTTP(w, req)
	})
}

func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, err := s.who.Identify(req.Context(), req)
		if err != nil {
			s.config.Logger.Debug("credentials refused", "err", err)
			rest.WriteError(w, req, apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		req.Header.Del("Authorization") // nothing behind this point needs it, and streams are passed on
		exchangeOf(req).user = user
		next.ServeHTTP(w, req)
	})
}

func (s *Server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		x := exchangeOf(req)
		question := x.target.question(x.user)
		err := authz.May(req.Context(), s.may, question)
		switch {
		case err == nil:
			next.ServeHTTP(w, req)
		case apierrors.IsForbidden(err) && x.user.In(authn.GroupUnauthenticated):
			rest.WriteError(w, req, apierrors.NewUnauthorized("Unauthorized"))
		default:
			rest.WriteError(w, req, err)
		}
	})
}

func (t target) question(user authn.User) authz.Request {
	t.name = cmp.Or(t.name, t.selected)
	return authz.Request{
		User: user, Verb: t.verb, Namespace: t.namespace, Group: t.group, Version: t.version,
		Resource: t.resource, Subresource: t.subresource, Name: t.name, Path: t.path, Selector: t.selector,
	}
}

// limit bounds how many requests are served at once, so that a flood slows clients down rather than the machine.
func (s *Server) limit(next http.Handler) http.Handler {
	reads, writes := s.metrics.Inflight("readOnly"), s.metrics.Inflight("mutating")
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		x := exchangeOf(req)
		if x.longRunning() || x.target.resource == "" {
			next.ServeHTTP(w, req)
			return
		}
		room, gauge := s.writes, writes
		if req.Method == http.MethodGet || req.Method == http.MethodHead {
			room, gauge = s.reads, reads
		}
		if !enter(req.Context(), room) {
			s.metrics.Rejected()
			rest.WriteError(w, req, apierrors.NewTooManyRequests("too many requests, please try again later", 1))
			return
		}
		gauge.Inc()
		defer func() {
			gauge.Dec()
			<-room
		}()
		next.ServeHTTP(w, req)
	})
}

// queueTime is how long a request waits for room.
const queueTime = 15 * time.Second

func enter(ctx context.Context, room chan struct{}) bool {
	select {
	case room <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(queueTime)
	defer timer.Stop()
	select {
	case room <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func coreResource(name string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(name)
}
