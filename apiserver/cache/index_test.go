package cache_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// byNode finds config maps by the nodes that they name, separated by commas, and counts how often it is asked.
func byNode(asked *int) func(cache.Entry) []string {
	return func(e cache.Entry) []string {
		*asked++
		if node := e.Object().(*corev1.ConfigMap).Data["node"]; node != "" {
			return strings.Split(node, ",")
		}
		return nil
	}
}

func found(entries []cache.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, showEntry(e))
	}
	return out
}

// scan is what By should find, found by looking at everything.
func scan(table *cache.Table, node string) []string {
	out := []string{}
	table.Snapshot().Ascend("", "", func(e cache.Entry) bool {
		if slices.Contains(strings.Split(e.Object().(*corev1.ConfigMap).Data["node"], ","), node) {
			out = append(out, showEntry(e))
		}
		return true
	})
	return out
}

func TestIndexFindsWhatAScanFinds(t *testing.T) {
	w := start(t, memory.New())
	asked := 0
	keys := byNode(&asked)
	random := rand.New(rand.NewPCG(1, 2))
	nodes := []string{"", "a", "b", "a,b", "c", "b,b"}
	have := map[string]int64{}
	for step := range 3000 {
		key := fmt.Sprintf("ns%d/o%d", random.IntN(3), random.IntN(20))
		node := nodes[random.IntN(len(nodes))]
		switch revision, there := have[key]; {
		case !there:
			have[key] = w.create(key, node)
		case random.IntN(4) == 0:
			w.remove(key, revision)
			delete(have, key)
		default:
			have[key] = w.update(key, revision, node)
		}
		// Long spells without a question let the index be forgotten.
		if step%7 != 0 || step/1200%2 == 1 {
			continue
		}
		w.fresh()
		for _, node := range []string{"a", "b", "c", "nowhere"} {
			want(t, fmt.Sprintf("step %d, under %q", step, node), scan(w.table(), node), found(w.table().By("node", keys, node)))
		}
		if t.Failed() {
			return
		}
	}
}

func TestIndexCostsOnlyWhatChanged(t *testing.T) {
	w := start(t, memory.New())
	for i := range 100 {
		w.create(fmt.Sprintf("a/o%d", i), "n")
	}
	w.fresh()
	asked := 0
	keys := byNode(&asked)
	if asked != 0 {
		t.Errorf("asked %d times before anybody wanted the index", asked)
	}
	if got := len(w.table().By("node", keys, "n")); got != 100 || asked != 100 {
		t.Errorf("first question: %d found, %d looked at; want 100 and 100", got, asked)
	}
	r := w.create("b/new", "m")
	w.fresh()
	if got := len(w.table().By("node", keys, "n")); got != 100 || asked != 101 {
		t.Errorf("after one change: %d found, %d looked at; want 100 and one more than before", got, asked)
	}
	for range 1500 { // more than an index waits for
		r = w.update("b/new", r, "m")
	}
	w.fresh()
	if asked != 101 {
		t.Errorf("%d looked at while nobody asked, want none", asked-101)
	}
	want(t, "after many changes", []string{fmt.Sprintf("b/new=m@%d", r)}, found(w.table().By("node", keys, "m")))
}

func TestGaplessWatcherIsToldTheDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New()
		store := &held{Store: inner, fault: make(chan error)}
		w := start(t, store)
		changed, gone := w.create("a/changed", "1"), w.create("a/gone", "1")
		w.create("a/same", "1")
		w.fresh()
		asked := 0
		w.table().By("node", byNode(&asked), "1")
		snapshot, watcher, err := w.table().SnapshotAndWatch(cache.WatchOptions{Queue: -1, Gapless: true})
		if err != nil {
			t.Fatal(err)
		}
		defer watcher.Stop()
		ordinary := w.watch(cache.WatchOptions{Since: snapshot.Revision()})
		before, _ := w.table().Get("a/same")

		// The cache waits a little before it loads again; this happens meanwhile.
		store.fault <- errkind.New(errkind.Unavailable, "gone for a while")
		w.update("a/changed", changed, "2")
		w.remove("a/gone", gone)
		w.create("a/new", "1")
		w.fresh()

		changes, err := watcher.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes {
			got = append(got, fmt.Sprintf("%d %s", c.Type, c.Entry.Key()))
			if c.Type == cache.Modified && c.Prev.Object().(*corev1.ConfigMap).Data["node"] != "1" {
				t.Errorf("%s: the previous state is not the one that was seen", c.Entry.Key())
			}
		}
		want(t, "difference", []string{fmt.Sprintf("%d a/gone", cache.Deleted), fmt.Sprintf("%d a/changed", cache.Modified), fmt.Sprintf("%d a/new", cache.Added)}, got)
		if _, err := ordinary.Next(t.Context()); !errors.Is(err, errkind.Expired) {
			t.Errorf("the ordinary watcher: got %v, want Expired", err)
		}
		if after, _ := w.table().Get("a/same"); after != before {
			t.Error("what did not change was made anew")
		}
		want(t, "index after the load", scan(w.table(), "1"), found(w.table().By("node", byNode(&asked), "1")))
		w.stop()
	})
}

func TestMetaDecodesNoMoreThanMetadata(t *testing.T) {
	whole, meta := 0, 0
	w := start(t, memory.New(), func(c *cache.Config) {
		decode := c.Resources[0].Decode
		c.Resources[0].Decode = func(stored []byte, revision int64) (cache.Object, error) {
			whole++
			return decode(stored, revision)
		}
		c.Resources[0].DecodeMeta = func(stored []byte, revision int64) (cache.Object, error) {
			meta++
			obj, err := decode(stored, revision)
			if err != nil {
				return nil, err
			}
			return &corev1.ConfigMap{ObjectMeta: obj.(*corev1.ConfigMap).ObjectMeta}, nil
		}
	})
	w.create("a/x", "1", "k=v")
	w.fresh()
	e, _ := w.table().Get("a/x")
	if got := labels.Set(e.Meta().GetLabels()).String(); got != "k=v" || whole != 0 || meta != 1 {
		t.Errorf("metadata: labels %q after %d whole and %d metadata decodings, want k=v after 0 and 1", got, whole, meta)
	}
	if e.Object(); e.Meta() != e.Object() || whole != 1 || meta != 1 {
		t.Errorf("once decoded: %d whole and %d metadata decodings, want the object itself after 1 and 1", whole, meta)
	}
}

// TestTrimDropsWhatABurstLeft holds that decoded objects go soon after a burst, that few stay, and that one somebody comes back for stays too.
func TestTrimDropsWhatABurstLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, memory.New())
		for i := range 3000 {
			w.create(fmt.Sprintf("a/o%d", i), "n")
		}
		w.fresh()
		all := map[string]cache.Object{}
		w.table().Snapshot().Ascend("", "", func(e cache.Entry) bool {
			all[e.Key()] = e.Object()
			return true
		})
		decoded := func() int64 { return w.cache.Stats().Tables["configmaps"].Decoded }
		if n := decoded(); n != 3000 {
			t.Fatalf("%d decoded, want 3000", n)
		}
		time.Sleep(3 * time.Second)
		e, _ := w.table().Get("a/o7")
		again := e.Object()
		if again == all["a/o7"] {
			t.Error("three seconds after the burst the object is still in memory")
		}
		// Others come and are trimmed; this one was wanted again.
		w.table().Snapshot().Ascend("", "", func(e cache.Entry) bool {
			e.Object()
			return true
		})
		for i := range 3000 {
			w.create(fmt.Sprintf("b/o%d", i), "n")
		}
		w.fresh()
		w.table().Snapshot().Ascend("b/", "", func(e cache.Entry) bool {
			e.Object()
			return true
		})
		time.Sleep(3 * time.Second)
		if e.Object() != again {
			t.Error("an object that was wanted again was dropped with the rest")
		}
		w.stop()
	})
}

func TestFewObjectsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, memory.New())
		w.create("a/x", "n")
		w.fresh()
		e, _ := w.table().Get("a/x")
		first := e.Object()
		time.Sleep(time.Minute)
		if e.Object() != first {
			t.Error("a small table's object was dropped within a minute")
		}
		w.stop()
	})
}
