// Package apiserver is the HTTP control plane: the Kubernetes API on a table of kinds.
//
// This folder joins the parts and owns the request's path through them; what the API does is in rest, what it serves is
// in kinds, where it lies is in storage and cache. It runs no controllers. Start with Config, then the filters in filters.go.
package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/discovery"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/metrics"
	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/tunnel"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

// Config is what a server is made of.
type Config struct {
	// Store holds the objects. Required. It must stay usable until Run has returned.
	Store storage.Store
	// Kinds are served from the start; nil: kinds.All(). Registry changes them while the server runs.
	Kinds *registry.Snapshot
	// Listener takes connections; Run closes it. Required.
	Listener net.Listener
	// TLS is the server's side: its certificate, and in ClientCAs whose client certificates are believed. Required.
	TLS *tls.Config

	// Tokens are static bearer tokens.
	Tokens []authn.Token
	// AccountKey signs service account tokens; nil: there are none.
	AccountKey *ecdsa.PrivateKey
	// Authorizer makes who decides, from what the server knows of its objects; nil: authz.Default.
	Authorizer func(authz.Graph) authz.Authorizer
	// Services hands out Service addresses; nil: Services are stored as they come.
	Services admission.Services
	// Admission, if set, may add to the pipeline that admission.Default makes, before anything is served.
	Admission func(*admission.Pipeline)

	// Kubelets is the client's side towards kubelets: the certificate to show and whom to believe. Nil: streams of pods and nodes are refused.
	Kubelets *tls.Config

	// MaxReads and MaxWrites bound the requests served at once. 0: 400 and 200.
	MaxReads, MaxWrites int
	Logger              *slog.Logger
	Now                 func() time.Time // nil: time.Now
}

func (c *Config) validate() error {
	switch {
	case c.Store == nil:
		return errkind.New(errkind.Invalid, "api server needs a store")
	case c.Listener == nil:
		return errkind.New(errkind.Invalid, "api server needs a listener")
	case c.TLS == nil:
		return errkind.New(errkind.Invalid, "api server needs a certificate")
	}
	if c.Kinds == nil {
		c.Kinds = kinds.All()
	}
	if c.Authorizer == nil {
		c.Authorizer = func(graph authz.Graph) authz.Authorizer { return authz.Default(graph) }
	}
	if c.MaxReads == 0 {
		c.MaxReads = 400
	}
	if c.MaxWrites == 0 {
		c.MaxWrites = 200
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Server is one API server.
type Server struct {
	config    Config
	registry  *registry.Registry
	types     *registry.Derivation[typeIndex]
	cache     *cache.Cache
	rest      *rest.Service
	who       *authn.Authenticator
	may       authz.Authorizer
	documents *discovery.Documents
	openapi   *openapi.Handler
	tunnel    *tunnel.Tunnel // nil: none
	metrics   *metrics.Metrics
	stopping  chan struct{}
	loaded    chan struct{} // the memory is filled: requests for resources can be answered
	ready     chan struct{}
	reads     chan struct{}
	writes    chan struct{}
	checks    []check
	handler   http.Handler
	busy      busy
}

// New returns a server. Nothing runs and nothing is read before Run.
func New(config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		config: config, registry: registry.New(config.Kinds), types: registry.Derive(newTypes), metrics: metrics.New(),
		stopping: make(chan struct{}), loaded: make(chan struct{}), ready: make(chan struct{}),
		reads: make(chan struct{}, config.MaxReads), writes: make(chan struct{}, config.MaxWrites),
	}
	var err error
	s.cache, err = cache.New(cache.Config{Store: config.Store, Resources: rest.Resources(config.Kinds), Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	if s.openapi, err = openapi.New(s.registry); err != nil {
		return nil, err
	}
	var accounts *authn.Accounts
	if config.AccountKey != nil {
		accounts = &authn.Accounts{Key: config.AccountKey, Now: config.Now, Exists: s.exists}
	}
	s.rest, err = rest.New(rest.Config{
		Registry: s.registry, Store: config.Store, Cache: s.cache,
		Fields: patch.NewFields(s.registry, openapi.TypeConverter), Accounts: accounts, Authorize: s.alsoMay, Judge: judge{s},
		Stopping: s.stopping, Logger: config.Logger, Now: config.Now,
	})
	if err != nil {
		return nil, err
	}
	s.may = config.Authorizer(graph{s})
	s.rest.Admission = admission.Default(admission.Config{Reader: reader{s.rest}, Authorizer: s.may, Services: config.Services})
	if config.Admission != nil {
		config.Admission(&s.rest.Admission)
	}
	if config.Kubelets != nil {
		s.tunnel = tunnel.New(tunnel.Config{TLS: config.Kubelets, Endpoints: s.endpoints, Stopping: s.stopping, Logger: config.Logger}, s.rest)
		s.rest.Connect = s.tunnel.Serve
	}
	s.metrics.CountObjects(s.rest.Count)
	s.who = authn.New(authn.Config{Tokens: config.Tokens, Accounts: accounts})
	s.documents = discovery.New(s.registry, config.Listener.Addr().String())
	s.checks = s.health()
	s.handler = chain(s.filters(), http.HandlerFunc(s.dispatch))
	return s, nil
}

// Handler is the whole API, for callers that bring their own listener.
func (s *Server) Handler() http.Handler { return s.handler }

// Cache is the memory behind every read.
func (s *Server) Cache() *cache.Cache { return s.cache }

// Kinds are those that are served now.
func (s *Server) Kinds() *registry.Snapshot { return s.registry.Current() }

// Registry is where kinds come and go. Updates wait for the server to have started.
func (s *Server) Registry() *registry.Registry { return s.registry }

// Metrics is where other parts of the process may register figures of their own.
func (s *Server) Metrics() *metrics.Metrics { return s.metrics }

// Ready is closed once the memory is loaded and the system's namespaces exist.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// stopTime is how long requests under way may take to finish when the server stops.
const stopTime = 10 * time.Second

// flushTime is how long the last answers have to leave.
const flushTime = 50 * time.Millisecond

// Run serves until ctx ends. Then watches end, requests under way finish, and the listener is closed.
func (s *Server) Run(ctx context.Context) error {
	// The cache outlives the listener, because requests under way read from it until they are answered.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	return run.Group(inner,
		s.cache.Run,
		s.begin,
		s.expireEvents,
		func(context.Context) error {
			defer cancel()
			return s.serve(ctx)
		},
	)
}

func (s *Server) serve(ctx context.Context) error {
	config := s.config.TLS.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if config.ClientCAs != nil {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS12
	}
	server := &http.Server{
		Handler:           s.handler,
		TLSConfig:         config,
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000},
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		close(s.stopping)
		s.drain(context.WithoutCancel(ctx), server)
	}()
	err := server.ServeTLS(s.config.Listener, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return errkind.New(errkind.Unavailable, "serve the api: %w", err)
}

// drain takes no more connections, lets requests under way finish, and cuts off what remains: idle connections, and what takes too long.
func (s *Server) drain(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		_ = server.Shutdown(ctx) // its own end is the deadline, or the Close below
	}()
	select {
	case <-s.busy.idle():
		// The last answers are with the connections, which need a moment to send them.
		select {
		case <-graceful:
		case <-time.After(flushTime):
		}
	case <-ctx.Done():
	}
	_ = server.Close() // nothing that is still open was promised anything
	<-graceful
	if s.tunnel != nil {
		s.tunnel.CloseIdle()
	}
}

// exists tells whether what a service account token was made for is still there.
func (s *Server) exists(ctx context.Context, resource, namespace, name, uid string) bool {
	gvr := coreResource(resource)
	found := s.rest.Cached(gvr, namespace, name)
	if found == nil {
		live, err := s.rest.Live(ctx, gvr, namespace, name)
		if err != nil {
			return false
		}
		found = live
	}
	return uid == "" || string(found.GetUID()) == uid
}
