package registry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Snapshot is the ordered list of kinds with its look-ups. It is immutable, so any number of goroutines may share it.
type Snapshot struct {
	rows       []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
}

// NewSnapshot makes a snapshot of rows. The order is that of discovery.
func NewSnapshot(rows []*Kind) *Snapshot {
	s := &Snapshot{byResource: map[schema.GroupVersionResource]*Kind{}, byKind: map[schema.GroupVersionKind]*Kind{}}
	for _, kind := range rows {
		s.add(kind)
	}
	return s
}

func (s *Snapshot) add(kind *Kind) {
	if _, twice := s.byResource[kind.GVR()]; twice {
		panic(fmt.Sprintf("registry: %s is in the table twice", kind.GVR()))
	}
	s.rows = append(s.rows, kind)
	s.byResource[kind.GVR()] = kind
	s.byKind[kind.GVK] = kind
}

// Kinds returns every row in order. The slice is shared: do not change it.
func (s *Snapshot) Kinds() []*Kind { return s.rows }

// ByResource returns the row that serves the resource, or nil.
func (s *Snapshot) ByResource(gvr schema.GroupVersionResource) *Kind { return s.byResource[gvr] }

// ByKind returns the row of the kind, or nil.
func (s *Snapshot) ByKind(gvk schema.GroupVersionKind) *Kind { return s.byKind[gvk] }

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
