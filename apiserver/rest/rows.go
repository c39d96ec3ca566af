package rest

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// storageRoot begins every key of an object.
const storageRoot = "/registry/"

// row is a kind with where its objects lie.
type row struct {
	kind   *registry.Kind
	stored *registry.Kind // the row of the storage version; nil if nothing is stored
	table  *cache.Table   // nil if nothing is stored
	prefix string         // "/registry/pods/"
	gr     schema.GroupResource
}

// rows are what is served, by the rows of the registry. A map that was published is not changed.
type rows map[*registry.Kind]*row

// Resources are the collections the cache must hold for the snapshot, one for each storage prefix.
func Resources(snapshot *registry.Snapshot) []cache.Resource {
	var out []cache.Resource
	for _, kind := range snapshot.Kinds() {
		if kind.Storage == registry.Stored && snapshot.StoredAs(kind) == kind {
			out = append(out, resource(kind))
		}
	}
	return out
}

// rowsOf joins the kinds of a snapshot to the tables by prefix. Rows that are already right are kept.
func rowsOf(snapshot *registry.Snapshot, tables map[string]*cache.Table, before rows) (rows, error) {
	out := rows{}
	for _, kind := range snapshot.Kinds() {
		r := &row{kind: kind, gr: kind.GVR().GroupResource()}
		if kind.Storage == registry.Stored {
			r.stored, r.prefix, r.table = snapshot.StoredAs(kind), storageRoot+kind.StoragePrefix+"/", tables[kind.StoragePrefix]
			if r.table == nil {
				return nil, errkind.New(errkind.Internal, "kind %v: the cache does not know %q", kind.GVK, kind.StoragePrefix)
			}
		}
		if was := before[kind]; was != nil && was.stored == r.stored && was.table == r.table {
			r = was
		}
		out[kind] = r
	}
	return out, nil
}

// tables are the tables of the rows by storage prefix.
func (r rows) tables() map[string]*cache.Table {
	out := map[string]*cache.Table{}
	for kind, row := range r {
		if row.table != nil {
			out[kind.StoragePrefix] = row.table
		}
	}
	return out
}

// Prepare implements registry.Follower: what is stored in a new place, or in a new form, is loaded before anybody can ask for it.
func (s *Service) Prepare(ctx context.Context, prev, next *registry.Snapshot) (registry.Prepared, error) {
	if err := known(next); err != nil {
		return registry.Prepared{}, err
	}
	before := *s.rows.Load()
	tables := before.tables()
	var added, replaced []*cache.Table
	abandon := func() {
		for _, t := range append(added, replaced...) {
			s.Cache.Remove(t)
		}
		s.rows.Store(&before)
	}
	for _, r := range Resources(next) {
		was := storedUnder(prev, r.Name)
		var t *cache.Table
		var err error
		switch {
		case was == nil:
			t, err = s.Cache.Add(ctx, r)
			added = append(added, t)
		case !next.Has(was) || next.StoredAs(was) != was:
			t, err = s.Cache.Replace(ctx, r)
			replaced = append(replaced, t)
		default:
			continue
		}
		if err != nil {
			added, replaced = withoutNil(added), withoutNil(replaced)
			abandon()
			return registry.Prepared{}, errkind.New(errkind.Unavailable, "load %q: %w", r.Name, err)
		}
		tables[r.Name] = t
	}
	after, err := rowsOf(next, tables, before)
	if err != nil {
		abandon()
		return registry.Prepared{}, err
	}
	// Requests may begin with next before Settle is called, and with prev until then.
	both := maps.Clone(after)
	maps.Copy(both, before)
	s.rows.Store(&both)
	return registry.Prepared{Abandon: abandon, Settle: func() { s.settle(before, after, replaced) }}, nil
}

func withoutNil(tables []*cache.Table) []*cache.Table {
	var out []*cache.Table
	for _, t := range tables {
		if t != nil {
			out = append(out, t)
		}
	}
	return out
}

// storedUnder returns the row whose objects are stored under the prefix, as they are stored; nil if there is none.
func storedUnder(snapshot *registry.Snapshot, prefix string) *registry.Kind {
	for _, kind := range snapshot.Kinds() {
		if kind.Storage == registry.Stored && kind.StoragePrefix == prefix && snapshot.StoredAs(kind) == kind {
			return kind
		}
	}
	return nil
}

// settle lets go of the tables that are not needed any more, with which watches on them end.
func (s *Service) settle(before, after rows, replaced []*cache.Table) {
	s.rows.Store(&after)
	for _, t := range replaced {
		s.Cache.Promote(t)
	}
	kept := after.tables()
	for prefix, t := range before.tables() {
		if kept[prefix] == nil {
			s.Cache.Remove(t)
		}
	}
}

// known holds that the server can do what the subresources are for.
func known(snapshot *registry.Snapshot) error {
	for _, kind := range snapshot.Kinds() {
		for i := range kind.Subresources {
			if action := kind.Subresources[i].Action; action != "" && actions()[action] == nil {
				return errkind.New(errkind.Invalid, "resource %s: nothing is known of how to %s", kind.GVR(), action)
			}
		}
	}
	return nil
}

// begin finds the call's row. It is found once: a call goes on with what it began with, even if the kind goes meanwhile.
func (s *Service) begin(c *Call) error {
	if c.row == nil {
		c.row = (*s.rows.Load())[c.Kind]
	}
	if c.row == nil {
		return apierrors.NewNotFound(c.Kind.GVR().GroupResource(), c.Name)
	}
	return nil
}

func (s *Service) row(c *Call) *row { return c.row }

func resource(kind *registry.Kind) cache.Resource {
	r := cache.Resource{
		Name:       kind.StoragePrefix,
		Prefix:     storageRoot + kind.StoragePrefix + "/",
		Decode:     func(stored []byte, revision int64) (cache.Object, error) { return decode(kind, stored, revision) },
		DecodeMeta: func(stored []byte, revision int64) (cache.Object, error) { return decodeMeta(kind, stored, revision) },
		ToJSON:     func(e cache.Entry) ([]byte, error) { return toJSON(kind, e) },
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

// toJSON makes the document of an entry: from the stored one where that is JSON and nothing is to be filled in, else from the object.
func toJSON(kind *registry.Kind, e cache.Entry) ([]byte, error) {
	if kind.Untyped && kind.Default == nil {
		if doc, ok := codec.ReviseJSON(e.Stored(), e.Revision()); ok {
			return doc, nil
		}
	}
	obj := e.Object()
	if obj == nil {
		return nil, fmt.Errorf("object %s cannot be decoded", e.Key())
	}
	return codec.Encode(obj, codec.JSON)
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
func (r *row) view(ctx context.Context, e cache.Entry) (registry.Object, error) {
	obj := e.Object()
	if obj == nil {
		return nil, fmt.Errorf("object %q of %s cannot be decoded", e.Key(), r.gr)
	}
	if r.kind == r.stored {
		return obj, nil
	}
	return patch.Convert(ctx, r.stored, r.kind, obj)
}

// views is view for all objects of an answer, which are converted together. One that cannot be decoded, which was logged, is left out: it
// does not hide the others.
func (r *row) views(ctx context.Context, entries []cache.Entry) ([]cache.Entry, []registry.Object, error) {
	readable, objs := make([]cache.Entry, 0, len(entries)), make([]registry.Object, 0, len(entries))
	for _, e := range entries {
		if obj := e.Object(); obj != nil {
			readable, objs = append(readable, e), append(objs, obj)
		}
	}
	if r.kind == r.stored {
		return readable, objs, nil
	}
	converted, err := patch.ConvertAll(ctx, r.stored, r.kind, objs)
	return readable, converted, err
}

// encode returns the stored form of obj, which must be in the row's version, and the object in the storage version.
func (r *row) encode(ctx context.Context, obj registry.Object) ([]byte, registry.Object, error) {
	stored := obj
	if r.kind != r.stored {
		var err error
		if stored, err = patch.Convert(ctx, r.kind, r.stored, obj); err != nil {
			return nil, nil, err
		}
	}
	revision := stored.GetResourceVersion()
	stored.SetResourceVersion("")
	value, err := codec.EncodeStored(stored, r.stored.GVK)
	stored.SetResourceVersion(revision)
	return value, stored, err
}
