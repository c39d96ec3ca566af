// Package rest is what the API does: one file per verb, each a function of a Call, and its HTTP form beside it.
//
// Everything it does is derived from the table of kinds. It does not authenticate, authorise or route: a Call that arrives
// here may be done. The verbs are used by HTTP handlers and, without HTTP, by the loops of this process. Start with Service and
// Call, then create.go.
package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// storageRoot begins every key of an object.
const storageRoot = "/registry/"

// Config is what a Service works with.
type Config struct {
	Table  *registry.Snapshot
	Store  storage.Store
	Cache  *cache.Cache // made with Resources of the same table
	Fields *patch.Fields
	// Authorize says whether the call may also do another verb: what creates by updating or applying must be allowed to create.
	// Nil: it may.
	Authorize func(ctx context.Context, c *Call, verb string) error
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

	rows    map[*registry.Kind]*row
	verbs   map[string]handler
	posters map[string]poster
}

// row is a kind with where its objects lie.
type row struct {
	kind   *registry.Kind
	stored *registry.Kind // the row of the storage version
	table  *cache.Table
	prefix string // "/registry/pods/"
	gr     schema.GroupResource
}

// New returns a Service. Every resource of the table must be in the cache.
func New(config Config) (*Service, error) {
	s := &Service{Config: config, rows: map[*registry.Kind]*row{}, verbs: verbs(), posters: posters()}
	for _, kind := range config.Table.Kinds() {
		stored := storageKind(config.Table, kind)
		if stored == nil {
			return nil, fmt.Errorf("kind %v: its storage version is not in the table", kind.GVK)
		}
		r := &row{
			kind: kind, stored: stored, prefix: storageRoot + kind.StoragePrefix + "/",
			gr:    kind.GVR().GroupResource(),
			table: config.Cache.Table(kind.StoragePrefix),
		}
		if r.table == nil {
			return nil, fmt.Errorf("kind %v: the cache does not know %q", kind.GVK, kind.StoragePrefix)
		}
		s.rows[kind] = r
	}
	return s, nil
}

func storageKind(table *registry.Snapshot, kind *registry.Kind) *registry.Kind {
	if kind.StorageVersion.Empty() {
		return kind
	}
	return table.ByKind(kind.StorageVersion)
}

// Resources are the collections the cache must hold for the table, one for each storage prefix.
func Resources(table *registry.Snapshot) []cache.Resource {
	var out []cache.Resource
	seen := map[string]bool{}
	for _, kind := range table.Kinds() {
		stored := storageKind(table, kind)
		if stored == nil || seen[kind.StoragePrefix] {
			continue
		}
		seen[kind.StoragePrefix] = true
		out = append(out, resource(stored))
	}
	return out
}

func resource(kind *registry.Kind) cache.Resource {
	r := cache.Resource{
		Name:       kind.StoragePrefix,
		Prefix:     storageRoot + kind.StoragePrefix + "/",
		Decode:     func(stored []byte, revision int64) (cache.Object, error) { return decode(kind, stored, revision) },
		DecodeMeta: func(stored []byte, revision int64) (cache.Object, error) { return decodeMeta(kind, stored, revision) },
		ToJSON: func(e cache.Entry) ([]byte, error) {
			obj := e.Object()
			if obj == nil {
				return nil, fmt.Errorf("object %s cannot be decoded", e.Key())
			}
			return codec.Encode(obj, codec.JSON)
		},
	}
	if kind.Fields != nil {
		r.Fields = func(obj cache.Object) fields.Set { return kind.Fields(obj) }
	}
	if codec.CanProto(kind.New()) {
		r.AppendProto = func(dst []byte, e cache.Entry) []byte {
			body, ok := codec.Body(e.Stored())
			if !ok {
				return dst
			}
			return codec.AppendRevised(dst, body, strconv.FormatInt(e.Revision(), 10))
		}
	}
	return r
}

func decodeMeta(kind *registry.Kind, stored []byte, revision int64) (cache.Object, error) {
	obj, err := codec.DecodeStoredMeta(stored)
	if err != nil {
		return nil, err
	}
	codec.SetKind(obj, kind.GVK)
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	return obj, nil
}

func decode(kind *registry.Kind, stored []byte, revision int64) (registry.Object, error) {
	obj := kind.New()
	if _, err := codec.DecodeStored(stored, obj); err != nil {
		return nil, err
	}
	codec.SetKind(obj, kind.GVK)
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	// Data written before a field had a default gets it now, as if it had always been there.
	if kind.Default != nil {
		kind.Default(obj)
	}
	return obj, nil
}

// key is where the object lies.
func (r *row) key(namespace, name string) string { return r.prefix + cacheKey(namespace, name) }

func cacheKey(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// view is the entry's object in the row's version. It is shared: read-only.
func (r *row) view(e cache.Entry) (registry.Object, error) {
	obj := e.Object()
	if obj == nil {
		return nil, fmt.Errorf("object %q of %s cannot be decoded", e.Key(), r.gr)
	}
	if r.kind == r.stored {
		return obj, nil
	}
	return patch.Convert(r.stored, r.kind, obj)
}

// encode returns the stored form of obj, which must be in the row's version, and the object in the storage version.
func (r *row) encode(obj registry.Object) ([]byte, registry.Object, error) {
	stored := obj
	if r.kind != r.stored {
		var err error
		if stored, err = patch.Convert(r.kind, r.stored, obj); err != nil {
			return nil, nil, err
		}
	}
	revision := stored.GetResourceVersion()
	stored.SetResourceVersion("")
	value, err := codec.EncodeStored(stored, r.stored.GVK)
	stored.SetResourceVersion(revision)
	return value, stored, err
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

func (s *Service) row(c *Call) *row { return s.rows[c.Kind] }

// Get reads from memory without waiting: what admission and the doors for loops need. Nil: there is none.
func (s *Service) Cached(resource schema.GroupVersionResource, namespace, name string) registry.Object {
	kind := s.Table.ByResource(resource)
	if kind == nil {
		return nil
	}
	r := s.rows[kind]
	entry, ok := r.table.Get(cacheKey(namespace, name))
	if !ok {
		return nil
	}
	obj, err := r.view(entry)
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
	return s.visit(resource, namespace, visit)
}

// CachedList reads the objects of a namespace ("": of all) from memory without waiting, in key order. Objects that cannot be decoded are left out.
func (s *Service) CachedList(resource schema.GroupVersionResource, namespace string) []registry.Object {
	var out []registry.Object
	_ = s.visit(resource, namespace, func(obj registry.Object) { out = append(out, obj) }) // what cannot be decoded is left out
	return out
}

// visit calls f for every object in memory, and returns the fault of the last that cannot be decoded.
func (s *Service) visit(resource schema.GroupVersionResource, namespace string, f func(registry.Object)) error {
	kind := s.Table.ByResource(resource)
	if kind == nil {
		return nil
	}
	r, prefix := s.rows[kind], ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	var fault error
	r.table.Snapshot().Ascend(prefix, "", func(e cache.Entry) bool {
		obj, err := r.view(e)
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

// Rows returns the cache's table of a kind, for readers in this process.
func (s *Service) Rows(kind *registry.Kind) *cache.Table {
	if r := s.rows[kind]; r != nil {
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
	for _, r := range s.rows {
		if r.kind == r.stored {
			out[r.gr.String()] = r.table.Snapshot().Len()
		}
	}
	return out
}
