package cache

import (
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// entry keeps the stored bytes always; everything made from them is made on demand and may be dropped again.
type entry struct {
	table    *Table
	key      string
	revision int64
	stored   []byte

	used           atomic.Bool // since the last sweep or trim
	trimmed, again atomic.Bool // dropped by a trim; and wanted once more after it
	object         atomic.Pointer[decoded]
	json           atomic.Pointer[[]byte]
	making         sync.Mutex // held while the object is made, so that it happens once
}

type decoded struct {
	object Object
	fields fields.Set
}

func (e *entry) Key() string     { return e.key }
func (e *entry) Revision() int64 { return e.revision }
func (e *entry) Stored() []byte  { return e.stored }

func (e *entry) Namespace() string {
	namespace, _, found := strings.Cut(e.key, "/")
	if !found {
		return ""
	}
	return namespace
}

func (e *entry) Name() string { return e.key[strings.LastIndexByte(e.key, '/')+1:] }

func (e *entry) Object() Object {
	if d := e.decode(); d != nil {
		return d.object
	}
	return nil
}

func (e *entry) Meta() Object {
	if d := e.object.Load(); d != nil {
		return d.object
	}
	if e.table.resource.DecodeMeta == nil {
		return e.Object()
	}
	object, err := e.table.resource.DecodeMeta(e.stored, e.revision)
	if err != nil {
		e.table.cache.log.Error("cannot decode stored metadata", "resource", e.table.resource.Name, "key", e.key, "err", err)
		return nil
	}
	return object
}

func (e *entry) Labels() labels.Set {
	if d := e.decode(); d != nil {
		return d.object.GetLabels()
	}
	return nil
}

func (e *entry) Fields() fields.Set {
	if d := e.decode(); d != nil {
		return d.fields
	}
	return nil
}

func (e *entry) JSON() []byte {
	e.touch()
	if doc := e.json.Load(); doc != nil {
		return *doc
	}
	if e.table.resource.ToJSON == nil {
		return nil
	}
	made, err := e.table.resource.ToJSON(e)
	if err != nil {
		e.table.cache.log.Error("cannot encode a stored object", "resource", e.table.resource.Name, "key", e.key, "err", err)
		return nil
	}
	if !e.json.CompareAndSwap(nil, &made) {
		if doc := e.json.Load(); doc != nil {
			return *doc // another reader was faster; share its copy
		}
	}
	return made
}

func (e *entry) Proto() []byte { return e.AppendProto(nil) }

func (e *entry) AppendProto(dst []byte) []byte {
	if e.table.resource.AppendProto == nil {
		return dst
	}
	return e.table.resource.AppendProto(dst, e)
}

func (e *entry) touch() {
	if !e.used.Load() {
		e.used.Store(true)
	}
}

func (e *entry) decode() *decoded {
	e.touch()
	if d := e.object.Load(); d != nil {
		return d
	}
	e.making.Lock()
	defer e.making.Unlock()
	if d := e.object.Load(); d != nil {
		return d
	}
	e.table.counters.decoded.Add(1)
	e.again.Store(e.trimmed.Load())
	object, err := e.table.resource.Decode(e.stored, e.revision)
	if err != nil {
		e.table.cache.log.Error("cannot decode a stored object", "resource", e.table.resource.Name, "key", e.key, "err", err)
		return nil
	}
	return e.keep(object)
}

// keep makes the object the decoded form.
func (e *entry) keep(object Object) *decoded {
	d := &decoded{object: object}
	if e.table.resource.Fields != nil {
		d.fields = e.table.resource.Fields(object)
	} else {
		d.fields = fields.Set{"metadata.name": object.GetName(), "metadata.namespace": object.GetNamespace()}
	}
	e.object.Store(d)
	e.table.cache.kept()
	return d
}

// adopt takes an object that a writer of this process had in its hands.
func (e *entry) adopt(object Object) bool {
	if e.object.Load() != nil {
		return false
	}
	e.making.Lock()
	defer e.making.Unlock()
	if e.object.Load() != nil {
		return false
	}
	e.touch()
	e.keep(object)
	return true
}

// drop forgets what can be made again. Who holds the object or the document keeps it.
func (e *entry) drop() {
	e.object.Store(nil)
	e.json.Store(nil)
}

// at returns the entry's state under another revision: what a removal reports.
func (e *entry) at(revision int64) *entry {
	return &entry{table: e.table, key: e.key, revision: revision, stored: e.stored}
}
