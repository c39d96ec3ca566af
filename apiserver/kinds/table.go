package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Config is what a cluster may choose about its kinds. The zero value is a single-stack IPv4 cluster.
type Config struct {
	// IPFamilies are the families of the cluster's Service addresses, the preferred one first. Empty: IPv4 alone.
	IPFamilies []corev1.IPFamily
}

func (c Config) families() []corev1.IPFamily {
	if len(c.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return c.IPFamilies
}

// All returns the table of every kind that is served, for a cluster with the default Config.
func All() *Table { return New(Config{}) }

// New returns the table of every kind that is served. The order is that of discovery: core first, then the groups by
// name, then kinds by resource name within their group.
func New(config Config) *Table {
	t := &Table{byResource: map[schema.GroupVersionResource]*Kind{}, byKind: map[schema.GroupVersionKind]*Kind{}}
	for _, group := range [][]*Kind{
		core(config),
		apps(),
		coordination(),
		discovery(),
		events(),
	} {
		for _, kind := range group {
			t.add(kind)
		}
	}
	return t
}

// Table is the ordered list of kinds with its look-ups. It is read-only after New, so any number of goroutines may share it.
type Table struct {
	rows       []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
}

func (t *Table) add(kind *Kind) {
	if _, twice := t.byResource[kind.GVR()]; twice {
		panic(fmt.Sprintf("kinds: %s is in the table twice", kind.GVR()))
	}
	t.rows = append(t.rows, kind)
	t.byResource[kind.GVR()] = kind
	t.byKind[kind.GVK] = kind
}

// Kinds returns every row in table order. The slice is shared: do not change it.
func (t *Table) Kinds() []*Kind { return t.rows }

// ByResource returns the row that serves the resource, or nil.
func (t *Table) ByResource(gvr schema.GroupVersionResource) *Kind { return t.byResource[gvr] }

// ByKind returns the row of the kind, or nil.
func (t *Table) ByKind(gvk schema.GroupVersionKind) *Kind { return t.byKind[gvk] }

// GroupVersions returns every served group and version in table order.
func (t *Table) GroupVersions() []schema.GroupVersion {
	var out []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, kind := range t.rows {
		gv := kind.GVK.GroupVersion()
		if !seen[gv] {
			seen[gv] = true
			out = append(out, gv)
		}
	}
	return out
}

// In returns the rows of one group and version in table order; empty if it is not served.
func (t *Table) In(gv schema.GroupVersion) []*Kind {
	var out []*Kind
	for _, kind := range t.rows {
		if kind.GVK.GroupVersion() == gv {
			out = append(out, kind)
		}
	}
	return out
}

// GVR names the resource of the row.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Resource)
}

// Subresource returns the subresource's row, or nil.
func (k *Kind) Subresource(name string) *Subresource {
	for i := range k.Subresources {
		if k.Subresources[i].Name == name {
			return &k.Subresources[i]
		}
	}
	return nil
}
