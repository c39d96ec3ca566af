package registry

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Snapshot is the ordered rows of one moment with their look-ups. It is immutable, so any number of goroutines may share it.
type Snapshot struct {
	number     int64
	rows       []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	derived    sync.Map // by *Derivation
}

// NewSnapshot makes the first snapshot, of rows in the order of discovery. The error names every row that does not fit the others.
func NewSnapshot(rows []*Kind) (*Snapshot, error) { return newSnapshot(1, rows) }

func newSnapshot(number int64, rows []*Kind) (*Snapshot, error) {
	s := &Snapshot{
		number: number, rows: rows,
		byResource: make(map[schema.GroupVersionResource]*Kind, len(rows)), byKind: make(map[schema.GroupVersionKind]*Kind, len(rows)),
	}
	if err := s.index(); err != nil {
		return nil, err
	}
	return s, s.check()
}

// Number tells snapshots of one registry apart: each has a greater one than those before it.
func (s *Snapshot) Number() int64 { return s.number }

// Kinds returns every row in order. The slice is shared: do not change it.
func (s *Snapshot) Kinds() []*Kind { return s.rows }

// ByResource returns the row that serves the resource, or nil.
func (s *Snapshot) ByResource(gvr schema.GroupVersionResource) *Kind { return s.byResource[gvr] }

// ByKind returns the row of the kind, or nil.
func (s *Snapshot) ByKind(gvk schema.GroupVersionKind) *Kind { return s.byKind[gvk] }

// StoredAs returns the row of the version that the objects of a stored kind are stored as.
func (s *Snapshot) StoredAs(kind *Kind) *Kind {
	if kind.StorageVersion.Empty() {
		return kind
	}
	return s.byKind[kind.StorageVersion]
}

// Has is true when the very row is part of the snapshot.
func (s *Snapshot) Has(kind *Kind) bool { return s.byResource[kind.GVR()] == kind }

// GroupVersions returns every served group and version in the order of the rows.
func (s *Snapshot) GroupVersions() []schema.GroupVersion {
	var out []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, kind := range s.rows {
		gv := kind.GVK.GroupVersion()
		if !seen[gv] {
			seen[gv] = true
			out = append(out, gv)
		}
	}
	return out
}

// In returns the rows of one group and version in their order; empty if it is not served.
func (s *Snapshot) In(gv schema.GroupVersion) []*Kind {
	var out []*Kind
	for _, kind := range s.rows {
		if kind.GVK.GroupVersion() == gv {
			out = append(out, kind)
		}
	}
	return out
}

// Derivation is something that follows from a snapshot alone: documents, an index by Go type. It is made when it is first asked
// for, once for each snapshot, and goes with it.
type Derivation[T any] struct{ make func(*Snapshot) (T, error) }

// Derive returns a derivation. make must not keep what can change.
func Derive[T any](make func(*Snapshot) (T, error)) *Derivation[T] { return &Derivation[T]{make} }

// Of returns what follows from s.
func (d *Derivation[T]) Of(s *Snapshot) (T, error) {
	slot, ok := s.derived.Load(d)
	if !ok {
		slot, _ = s.derived.LoadOrStore(d, sync.OnceValues(func() (T, error) { return d.make(s) }))
	}
	return slot.(func() (T, error))()
}

// StoredField is what the storage version calls a selectable field.
func (k *Kind) StoredField(name string) string {
	if stored, ok := k.StoredFields[name]; ok {
		return stored
	}
	return name
}
