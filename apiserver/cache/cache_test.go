package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

const prefix = "/registry/configmaps/"

// configMaps is a resource stored as JSON whose field "node" is the data of that name.
func configMaps(name, prefix string) cache.Resource {
	return cache.Resource{
		Name:   name,
		Prefix: prefix,
		Decode: func(stored []byte, revision int64) (cache.Object, error) {
			cm := &corev1.ConfigMap{}
			if err := json.Unmarshal(stored, cm); err != nil {
				return nil, err
			}
			cm.ResourceVersion = strconv.FormatInt(revision, 10)
			return cm, nil
		},
		Fields: func(o cache.Object) fields.Set { return fields.Set{"node": o.(*corev1.ConfigMap).Data["node"]} },
		ToJSON: func(e cache.Entry) ([]byte, error) { return json.Marshal(e.Object()) },
	}
}

// value is the stored form of a config map on a node, with the labels "k=v".
func value(key, node string, labels ...string) []byte {
	namespace, name, _ := strings.Cut(key, "/")
	cm := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"node": node}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		metav1.SetMetaDataLabel(&cm.ObjectMeta, k, v)
	}
	data, err := json.Marshal(&cm)
	if err != nil {
		panic(err)
	}
	return data
}

// embedded is an etcd member of a test.
func embedded(t testing.TB) storage.Store {
	t.Helper()
	m, err := etcd.NewEmbedded(etcd.EmbeddedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-m.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return m.Store()
}

// world is a running cache on a store.
type world struct {
	t     testing.TB
	store storage.Store
	cache *cache.Cache
	stop  func()
}

func start(t testing.TB, store storage.Store, change ...func(*cache.Config)) *world {
	t.Helper()
	cfg := cache.Config{Store: store, Resources: []cache.Resource{configMaps("configmaps", prefix)}, PageSize: 3}
	for _, fn := range change {
		fn(&cfg)
	}
	c, err := cache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w := &world{t: t, store: store, cache: c, stop: func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
	}}
	t.Cleanup(w.stop)
	<-c.Ready()
	return w
}

func (w *world) table() *cache.Table { return w.cache.Table("configmaps") }

func (w *world) create(key, node string, labels ...string) int64 {
	w.t.Helper()
	revision, err := w.store.Create(w.t.Context(), prefix+key, value(key, node, labels...))
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

func (w *world) update(key string, expect int64, node string, labels ...string) int64 {
	w.t.Helper()
	revision, err := w.store.Update(w.t.Context(), prefix+key, value(key, node, labels...), expect)
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

func (w *world) remove(key string, expect int64) int64 {
	w.t.Helper()
	revision, err := w.store.Delete(w.t.Context(), prefix+key, expect)
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

func (w *world) fresh() int64 {
	w.t.Helper()
	revision, err := w.cache.Fresh(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

// show lists a snapshot as "key=node@revision".
func show(s cache.Snapshot, prefix, from string) []string {
	out := []string{}
	s.Ascend(prefix, from, func(e cache.Entry) bool {
		out = append(out, showEntry(e))
		return true
	})
	return out
}

func showEntry(e cache.Entry) string {
	if e == nil {
		return "none"
	}
	cm := e.Object().(*corev1.ConfigMap)
	if cm.ResourceVersion != strconv.FormatInt(e.Revision(), 10) || cm.Name != e.Name() || cm.Namespace != e.Namespace() {
		return fmt.Sprintf("BAD: %s/%s@%s in entry %s@%d", cm.Namespace, cm.Name, cm.ResourceVersion, e.Key(), e.Revision())
	}
	return fmt.Sprintf("%s=%s@%d", e.Key(), cm.Data["node"], e.Revision())
}

func showChange(c cache.Change) string {
	if c.Type == cache.Bookmark {
		return fmt.Sprintf("bookmark@%d", c.Revision)
	}
	if c.Entry.Revision() != c.Revision {
		return fmt.Sprintf("BAD: entry at %d in a change at %d", c.Entry.Revision(), c.Revision)
	}
	return []string{"added ", "modified ", "deleted "}[c.Type] + showEntry(c.Entry) + " was " + showEntry(c.Prev)
}

func want(t testing.TB, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantKind(t testing.TB, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error = %v, want one of kind %q", err, kind)
	}
}

func (w *world) watch(opts cache.WatchOptions) *cache.Watcher {
	w.t.Helper()
	watcher, err := w.table().Watch(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(watcher.Stop)
	return watcher
}

// drain reads n changes.
func drain(t testing.TB, watcher *cache.Watcher, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var got []string
	for len(got) < n {
		changes, err := watcher.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, c := range changes {
			got = append(got, showChange(c))
		}
	}
	return got
}

func TestSnapshotAndGet(t *testing.T) {
	store := memory.New()
	w := &world{t: t, store: store}
	var last int64
	for i := range 8 { // several pages at load
		last = w.create(fmt.Sprintf("a/k%d", i), "n")
	}
	if _, err := store.Create(t.Context(), "/registry/unknown/x", []byte("?")); err != nil {
		t.Fatal(err)
	}
	w = start(t, store)
	b := w.create("b/x", "m")
	if got := w.fresh(); got != b {
		t.Errorf("fresh = %d, want %d", got, b)
	}
	s := w.table().Snapshot()
	if s.Revision() != b || s.Len() != 9 {
		t.Errorf("snapshot of %d at %d, want 9 at %d", s.Len(), s.Revision(), b)
	}
	want(t, "from the middle", []string{fmt.Sprintf("a/k6=n@%d", last-1), fmt.Sprintf("a/k7=n@%d", last)}, show(s, "a/", "a/k6"))
	want(t, "another namespace", []string{fmt.Sprintf("b/x=m@%d", b)}, show(s, "b/", ""))
	c := w.update("b/x", b, "m2")
	d := w.remove("a/k0", last-7)
	w.fresh()
	want(t, "the old snapshot", []string{fmt.Sprintf("b/x=m@%d", b)}, show(s, "b/", ""))
	if e, ok := w.table().Get("b/x"); !ok || showEntry(e) != fmt.Sprintf("b/x=m2@%d", c) {
		t.Errorf("get = %v, %v", e, ok)
	}
	if _, ok := w.table().Get("a/k0"); ok {
		t.Error("a removed entry is still there")
	}
	if _, ok := s.Get("a/k0"); !ok {
		t.Error("the old snapshot lost an entry")
	}
	if now := w.table().Snapshot(); now.Revision() != d {
		t.Errorf("snapshot at %d, want %d", now.Revision(), d)
	}
}

func TestEntryMakesThingsOnce(t *testing.T) {
	var decoded atomic.Int64
	w := start(t, memory.New(), func(c *cache.Config) {
		decode := c.Resources[0].Decode
		c.Resources[0].Decode = func(stored []byte, revision int64) (cache.Object, error) {
			decoded.Add(1)
			return decode(stored, revision)
		}
	})
	w.create("a/x", "n", "app=web")
	w.fresh()
	e, _ := w.table().Get("a/x")
	if decoded.Load() != 0 {
		t.Error("an entry nobody looked at was decoded")
	}
	object, document := e.Object(), e.JSON()
	if e.Object() != object || &e.JSON()[0] != &document[0] {
		t.Error("object or document were made twice")
	}
	if e.Labels()["app"] != "web" || e.Fields()["node"] != "n" || e.Proto() != nil {
		t.Errorf("labels %v, fields %v, proto %q", e.Labels(), e.Fields(), e.Proto())
	}
	if decoded.Load() != 1 {
		t.Errorf("decoded %d times, want once", decoded.Load())
	}
}

func TestUndecodableEntry(t *testing.T) {
	w := start(t, memory.New())
	if _, err := w.store.Create(t.Context(), prefix+"a/x", []byte("not JSON")); err != nil {
		t.Fatal(err)
	}
	w.fresh()
	e, ok := w.table().Get("a/x")
	if !ok || e.Object() != nil || e.Labels() != nil || string(e.Stored()) != "not JSON" {
		t.Errorf("entry = %v, object %v", e, e.Object())
	}
}

func TestOwnWritesAreNotDecoded(t *testing.T) {
	store := &held{Store: memory.New()}
	w := start(t, store)
	own := func(key string, revision int64) *corev1.ConfigMap {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: key[2:], ResourceVersion: strconv.FormatInt(revision, 10)}}
		w.cache.Own(prefix+key, revision, value(key, "n"), cm)
		return cm
	}
	// The event comes first.
	r := w.create("a/x", "n")
	w.fresh()
	mine := own("a/x", r)
	if e, _ := w.table().Get("a/x"); e.Object() != cache.Object(mine) {
		t.Error("the object handed over after the event is not used")
	}
	// The writer comes first.
	store.hold()
	r = w.create("a/y", "n")
	mine = own("a/y", r)
	store.release()
	w.fresh()
	if e, _ := w.table().Get("a/y"); e.Object() != cache.Object(mine) {
		t.Error("the object handed over before the event is not used")
	}
	// Somebody else wrote in between.
	r = w.create("a/z", "n")
	r2 := w.update("a/z", r, "other")
	w.fresh()
	own("a/z", r)
	if e, _ := w.table().Get("a/z"); showEntry(e) != fmt.Sprintf("a/z=other@%d", r2) {
		t.Errorf("an outdated object was taken: %s", showEntry(e))
	}
	if got := w.cache.Stats().Tables["configmaps"]; got.Adopted != 2 || got.Decoded != 1 {
		t.Errorf("adopted %d, decoded %d, want 2 and 1", got.Adopted, got.Decoded)
	}
}

func TestAddAndRemove(t *testing.T) {
	w := start(t, memory.New())
	other := "/registry/example.org/widgets/"
	put := func(key string) int64 {
		r, err := w.store.Create(t.Context(), other+key, value(key, "n"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var last int64
	for i := range 5 {
		last = put(fmt.Sprintf("a/k%d", i))
	}
	table, err := w.cache.Add(t.Context(), configMaps("widgets", other))
	if err != nil {
		t.Fatal(err)
	}
	s, watcher, err := table.SnapshotAndWatch(cache.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 5 || s.Revision() < last {
		t.Errorf("joined with %d entries at %d, want 5 at %d", s.Len(), s.Revision(), last)
	}
	r := put("a/new")
	want(t, "changes", []string{fmt.Sprintf("added a/new=n@%d was none", r)}, drain(t, watcher, 1))
	_, err = w.cache.Add(t.Context(), configMaps("widgets", other))
	wantKind(t, err, errkind.Exists)
	_, err = table.Watch(cache.WatchOptions{Since: last - 1})
	wantKind(t, err, errkind.Expired)
	w.cache.Remove(table)
	if w.cache.Table("widgets") != nil {
		t.Error("the removed table is still there")
	}
	_, err = watcher.Next(t.Context())
	wantKind(t, err, errkind.NotFound)
	_, err = table.Watch(cache.WatchOptions{Since: r})
	wantKind(t, err, errkind.NotFound) // who comes too late must not wait for ever
}

func TestReplace(t *testing.T) {
	w := start(t, memory.New())
	other := "/registry/example.org/widgets/"
	old, err := w.cache.Add(t.Context(), configMaps("widgets", other))
	if err != nil {
		t.Fatal(err)
	}
	_, watcher, err := old.SnapshotAndWatch(cache.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := w.cache.Replace(t.Context(), configMaps("widgets", other))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.cache.Replace(t.Context(), configMaps("widgets", other))
	wantKind(t, err, errkind.Exists)
	r, err := w.store.Create(t.Context(), other+"a/x", value("a/x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cache.WaitFor(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// Until one of them goes, both are kept up to date.
	want(t, "changes", []string{fmt.Sprintf("added a/x=1@%d was none", r)}, drain(t, watcher, 1))
	for name, table := range map[string]*cache.Table{"old": old, "next": next} {
		want(t, name, []string{fmt.Sprintf("a/x=1@%d", r)}, show(table.Snapshot(), "", ""))
	}
	if w.cache.Table("widgets") != old {
		t.Error("the replacement is in place before it was promoted")
	}
	w.cache.Promote(next)
	if w.cache.Table("widgets") != next {
		t.Error("the promoted table is not in place")
	}
	_, err = watcher.Next(t.Context())
	wantKind(t, err, errkind.NotFound)

	dropped, err := w.cache.Replace(t.Context(), configMaps("widgets", other))
	if err != nil {
		t.Fatal(err)
	}
	w.cache.Remove(dropped)
	if w.cache.Table("widgets") != next {
		t.Error("a replacement that was given up took the table with it")
	}
	_, err = w.cache.Replace(t.Context(), configMaps("gadgets", "/registry/example.org/gadgets/"))
	wantKind(t, err, errkind.NotFound)
}

func TestWritesDuringTheLoadAreNotMissed(t *testing.T) {
	inner := memory.New()
	store := &racing{Store: inner, prefix: "/registry/"}
	w := &world{t: t, store: inner}
	r1 := w.create("a/x", "1")
	var r2, r3 int64
	store.after = func() { r2, r3 = w.update("a/x", r1, "2"), w.create("a/y", "1") }
	w = start(t, store)
	w.fresh()
	want(t, "state", []string{fmt.Sprintf("a/x=2@%d", r2), fmt.Sprintf("a/y=1@%d", r3)}, show(w.table().Snapshot(), "", ""))
	want(t, "history", []string{fmt.Sprintf("modified a/x=2@%d was a/x=1@%d", r2, r1), fmt.Sprintf("added a/y=1@%d was none", r3)},
		drain(t, w.watch(cache.WatchOptions{Since: r1}), 2))
}

func TestWritesDuringAddAreNotMissed(t *testing.T) {
	other := "/registry/example.org/widgets/"
	store := &racing{Store: memory.New(), prefix: other}
	w := start(t, store)
	r1, err := store.Create(t.Context(), other+"a/x", value("a/x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	var r2 int64
	store.after = func() {
		if r2, err = store.Update(t.Context(), other+"a/x", value("a/x", "2"), r1); err != nil {
			t.Error(err)
		}
		w.fresh() // the cache has seen it, and the table is still joining
	}
	table, err := w.cache.Add(t.Context(), configMaps("widgets", other))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "state", []string{fmt.Sprintf("a/x=2@%d", r2)}, show(table.Snapshot(), "", ""))
	watcher, err := table.Watch(cache.WatchOptions{Since: r1})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "history", []string{fmt.Sprintf("modified a/x=2@%d was a/x=1@%d", r2, r1)}, drain(t, watcher, 1))
}

func TestNewRefusesBadConfig(t *testing.T) {
	good := configMaps("configmaps", prefix)
	for name, change := range map[string]func(*cache.Config){
		"no store":    func(c *cache.Config) { c.Store = nil },
		"no name":     func(c *cache.Config) { c.Resources[0].Name = "" },
		"prefix":      func(c *cache.Config) { c.Resources[0].Prefix = "/registry/x" },
		"no decoder":  func(c *cache.Config) { c.Resources[0].Decode = nil },
		"twice":       func(c *cache.Config) { c.Resources = append(c.Resources, good) },
		"same prefix": func(c *cache.Config) { c.Resources = append(c.Resources, configMaps("other", prefix)) },
	} {
		cfg := cache.Config{Store: memory.New(), Resources: []cache.Resource{good}}
		change(&cfg)
		if _, err := cache.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
