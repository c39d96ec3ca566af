package garbage

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
)

// graph is who owns whom, by UID. It holds names only; objects are read from the Cluster's memory.
type graph struct {
	mu         sync.Mutex
	present    map[types.UID]loop.Key
	dependents map[types.UID]map[loop.Key]types.UID // owner -> its dependents and their UIDs
}

func newGraph() *graph {
	return &graph{present: map[types.UID]loop.Key{}, dependents: map[types.UID]map[loop.Key]types.UID{}}
}

// change notes one event and returns the keys it concerns: the object itself, dependents of one that went, owners that may have
// been waiting for a dependent to go.
func (g *graph) change(key func(kube.Object) loop.Key, e kube.Event) []loop.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []loop.Key
	if e.Old != nil {
		k := key(e.Old)
		for _, ref := range e.Old.GetOwnerReferences() {
			g.unlink(ref.UID, k)
		}
		if e.New == nil || e.New.GetUID() != e.Old.GetUID() {
			delete(g.present, e.Old.GetUID())
			for dependent := range g.dependents[e.Old.GetUID()] {
				out = append(out, dependent)
			}
		}
		out = append(out, g.presentOwners(e.Old)...)
	}
	if e.New != nil {
		k := key(e.New)
		g.present[e.New.GetUID()] = k
		for _, ref := range e.New.GetOwnerReferences() {
			if g.dependents[ref.UID] == nil {
				g.dependents[ref.UID] = map[loop.Key]types.UID{}
			}
			g.dependents[ref.UID][k] = e.New.GetUID()
		}
		if len(e.New.GetOwnerReferences()) > 0 || e.New.GetDeletionTimestamp() != nil {
			out = append(out, k)
		}
	}
	return out
}

func (g *graph) unlink(owner types.UID, dependent loop.Key) {
	delete(g.dependents[owner], dependent)
	if len(g.dependents[owner]) == 0 {
		delete(g.dependents, owner)
	}
}

func (g *graph) presentOwners(obj metav1.Object) []loop.Key {
	var out []loop.Key
	for _, ref := range obj.GetOwnerReferences() {
		if k, ok := g.present[ref.UID]; ok {
			out = append(out, k)
		}
	}
	return out
}
