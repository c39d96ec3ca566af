// Package rest is what the API does: one file per verb, each a function of a Call, and its HTTP form beside it.
//
// Everything it does is derived from the rows of the registry, which it follows (rows.go). It does not authenticate, authorise or route: a Call that arrives
// here may be done. The verbs are used by HTTP handlers and, without HTTP, by the loops of this process. Start with Service and
// Call, then create.go.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// Config is what a Service works with.
type Config struct {
	Registry *registry.Registry
	Store    storage.Store
	Cache    *cache.Cache // made with Resources of what the registry serves
	Fields   *patch.Fields
	// Authorize says whether the call may also do another verb: what creates by updating or applying must be allowed to create.
	// Nil: it may.
	Authorize func(ctx context.Context, c *Call, verb string) error
	// Judge knows what virtual kinds ask; nil: none that asks is served.
	Judge registry.Judge
	// Accounts issues service account tokens; nil: they cannot be had.
	Accounts *authn.Accounts
	// Stopping is closed when the server begins to stop: watches end then.
	Stopping <-chan struct{}
	Logger   *slog.Logger
	Now      func() time.Time
}

// Service does the verbs.
type Service struct {
	Config
	// Admission is set after New, because its plugins read through the Service.
	Admission admission.Pipeline
	// Connect carries the streams of pods and nodes; set after New as well. Nil: they are refused.
	Connect func(w http.ResponseWriter, req *http.Request, c *Call)

	rows    atomic.Pointer[rows]
	verbs   map[string]handler
	actions map[registry.Action]action
}

// New returns a Service of what the registry serves now, whose stored kinds must all be in the cache. It becomes a follower of the registry.
func New(config Config) (*Service, error) {
	s := &Service{Config: config, verbs: verbs(), actions: actions()}
	present := config.Registry.Current()
	if err := known(present); err != nil {
		return nil, err
	}
	tables := map[string]*cache.Table{}
	for _, kind := range present.Kinds() {
		if kind.Storage == registry.Stored {
			tables[kind.StoragePrefix] = config.Cache.Table(kind.StoragePrefix)
		}
	}
	first, err := rowsOf(present, tables, nil)
	if err != nil {
		return nil, err
	}
	s.rows.Store(&first)
	config.Registry.Follow(s)
	return s, nil
}

// Call is one request to do a verb.
type Call struct {
	User       authn.User
	Verb       string
	Kind       *registry.Kind
	Sub        *registry.Subresource // nil: the resource itself
	Namespace  string
	Name       string
	DryRun     bool
	Manager    string       // of fields
	Strictness string       // Strict, Warn or Ignore
	Warn       func(string) // adds a warning to the answer; never nil in a Service's hands
	Path       string       // after the name, for streams: "proxy/metrics"

	// admitted says that what was posted has passed admission, so that the change of the parent that follows from it need not.
	admitted bool

	row *row // found by begin
}

func (c *Call) subName() string {
	if c.Sub == nil {
		return ""
	}
	return c.Sub.Name
}

// Result is one object after a verb. It is shared: read-only.
type Result struct {
	Object  registry.Object
	stored  []byte      // bytes as they lie in the store, when the object is in its storage version
	entry   cache.Entry // where ready JSON is to be had; may be nil
	Created bool
	// unwritten says that nothing was stored, because nothing changed or nothing was to be.
	unwritten bool
}

// Cached reads from memory without waiting: what admission and the doors for loops need. Nil: there is none.
func (s *Service) Cached(resource schema.GroupVersionResource, namespace, name string) registry.Object {
	r := (*s.rows.Load())[s.Registry.Current().ByResource(resource)]
	if r == nil || r.table == nil {
		return nil
	}
	entry, ok := r.table.Get(cacheKey(namespace, name))
	if !ok {
		return nil
	}
	obj, err := r.view(context.Background(), entry) // built-in kinds, whose conversions need nothing
	if err != nil {
		return nil
	}
	return obj
}

// Each visits the objects of one namespace ("": of all) from memory, which holds everything written before the call.
func (s *Service) Each(ctx context.Context, resource schema.GroupVersionResource, namespace string, visit func(registry.Object)) error {
	if err := s.Fresh(ctx); err != nil {
		return storeError(err)
	}
	return s.visit(ctx, resource, namespace, visit)
}

// CachedList reads the objects of a namespace ("": of all) from memory without waiting, in key order. Objects that cannot be decoded are left out.
func (s *Service) CachedList(resource schema.GroupVersionResource, namespace string) []registry.Object {
	var out []registry.Object
	_ = s.visit(context.Background(), resource, namespace, func(obj registry.Object) { out = append(out, obj) }) // what cannot be decoded is left out
	return out
}

// visit calls f for every object in memory, and returns the fault of the last that cannot be decoded.
func (s *Service) visit(ctx context.Context, resource schema.GroupVersionResource, namespace string, f func(registry.Object)) error {
	r := (*s.rows.Load())[s.Registry.Current().ByResource(resource)]
	if r == nil || r.table == nil {
		return nil
	}
	prefix := ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	var fault error
	r.table.Snapshot().Ascend(prefix, "", func(e cache.Entry) bool {
		obj, err := r.view(ctx, e)
		if err != nil {
			fault = err
			return true
		}
		f(obj)
		return true
	})
	return fault
}

// Fresh returns once memory holds everything written before the call.
func (s *Service) Fresh(ctx context.Context) error {
	_, err := s.Cache.Fresh(ctx)
	return err
}

// Rows returns the cache's table of a kind, for readers in this process; nil if it is not served or not stored.
func (s *Service) Rows(kind *registry.Kind) *cache.Table {
	if r := (*s.rows.Load())[kind]; r != nil {
		return r.table
	}
	return nil
}

// Lookup is how the streams find the pods and nodes they go to.
type Lookup interface {
	Live(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error)
}

// Count returns how many objects of each resource there are. A resource that several versions serve counts once.
func (s *Service) Count() map[string]int {
	out := map[string]int{}
	for _, r := range *s.rows.Load() {
		if r.kind == r.stored {
			out[r.gr.String()] = r.table.Snapshot().Len()
		}
	}
	return out
}
