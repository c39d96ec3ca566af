package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestWatchSinceRevision(t *testing.T) {
	w := start(t, memory.New())
	r1 := w.create("a/x", "1")
	r2 := w.update("a/x", r1, "2")
	r3 := w.remove("a/x", r2)
	w.fresh()
	all := []string{
		fmt.Sprintf("added a/x=1@%d was none", r1),
		fmt.Sprintf("modified a/x=2@%d was a/x=1@%d", r2, r1),
		fmt.Sprintf("deleted a/x=2@%d was a/x=2@%d", r3, r2),
	}
	want(t, "everything", all, drain(t, w.watch(cache.WatchOptions{Since: r1 - 1}), 3))
	want(t, "the rest", all[1:], drain(t, w.watch(cache.WatchOptions{Since: r1}), 2))
	late := w.watch(cache.WatchOptions{Since: r3})
	r4 := w.create("a/x", "3")
	want(t, "what follows", []string{fmt.Sprintf("added a/x=3@%d was none", r4)}, drain(t, late, 1))
}

func TestWatchFromTheFutureSkipsWhatComesBefore(t *testing.T) {
	w := start(t, memory.New())
	r1 := w.create("a/x", "1")
	w.fresh()
	watcher := w.watch(cache.WatchOptions{Since: r1 + 1})
	r2 := w.update("a/x", r1, "2")
	r3 := w.update("a/x", r2, "3")
	want(t, "changes", []string{fmt.Sprintf("modified a/x=3@%d was a/x=2@%d", r3, r2)}, drain(t, watcher, 1))
}

func TestWatchExpired(t *testing.T) {
	store := memory.New()
	before := (&world{t: t, store: store}).create("a/old", "1")
	w := start(t, store, func(c *cache.Config) { c.Resources[0].HistoryEvents = 4 })
	for _, since := range []int64{0, before - 1} {
		_, err := w.table().Watch(cache.WatchOptions{Since: since})
		wantKind(t, err, errkind.Expired)
	}
	w.watch(cache.WatchOptions{Since: before})
	var r int64
	for i := range 10 {
		r = w.create(fmt.Sprintf("a/k%d", i), "1")
	}
	w.fresh()
	_, err := w.table().Watch(cache.WatchOptions{Since: r - 5})
	wantKind(t, err, errkind.Expired)
	if got := drain(t, w.watch(cache.WatchOptions{Since: r - 4}), 4); len(got) != 4 {
		t.Errorf("got %q, want the four events the ring holds", got)
	}
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	w := start(t, memory.New(), func(c *cache.Config) { c.Resources[0].HistoryBytes = 4000 })
	r := w.create("a/x", "0")
	for i := range 50 {
		r = w.update("a/x", r, fmt.Sprint(i))
	}
	w.fresh()
	if got := w.cache.Stats().Tables["configmaps"].History; got < 1 || got > 15 {
		t.Errorf("the ring holds %d events, want few", got)
	}
}

func TestWatchNarrow(t *testing.T) {
	w := start(t, memory.New())
	exact := w.watch(cache.WatchOptions{Since: w.fresh(), Prefix: "a/x", Exact: true})
	namespace := w.watch(cache.WatchOptions{Since: w.fresh(), Prefix: "a/"})
	node := w.watch(cache.WatchOptions{Since: w.fresh(), Field: "node", Value: "n1"})
	both := w.watch(cache.WatchOptions{Since: w.fresh(), Field: "node", Value: "n1", Prefix: "b/"})

	ax := w.create("a/x", "n1")
	axx := w.create("a/xx", "n2")
	bx := w.create("b/x", "n1")
	moved := w.update("a/x", ax, "n2")
	back := w.update("a/x", moved, "n1")
	gone := w.remove("b/x", bx)

	want(t, "exact", []string{
		fmt.Sprintf("added a/x=n1@%d was none", ax),
		fmt.Sprintf("modified a/x=n2@%d was a/x=n1@%d", moved, ax),
		fmt.Sprintf("modified a/x=n1@%d was a/x=n2@%d", back, moved),
	}, drain(t, exact, 3))
	want(t, "namespace", []string{
		fmt.Sprintf("added a/x=n1@%d was none", ax),
		fmt.Sprintf("added a/xx=n2@%d was none", axx),
		fmt.Sprintf("modified a/x=n2@%d was a/x=n1@%d", moved, ax),
		fmt.Sprintf("modified a/x=n1@%d was a/x=n2@%d", back, moved),
	}, drain(t, namespace, 4))
	want(t, "node", []string{
		fmt.Sprintf("added a/x=n1@%d was none", ax),
		fmt.Sprintf("added b/x=n1@%d was none", bx),
		fmt.Sprintf("deleted a/x=n1@%d was a/x=n1@%d", moved, ax),
		fmt.Sprintf("added a/x=n1@%d was none", back),
		fmt.Sprintf("deleted b/x=n1@%d was b/x=n1@%d", gone, bx),
	}, drain(t, node, 5))
	want(t, "node and namespace", []string{
		fmt.Sprintf("added b/x=n1@%d was none", bx),
		fmt.Sprintf("deleted b/x=n1@%d was b/x=n1@%d", gone, bx),
	}, drain(t, both, 2))
	nowhere := w.watch(cache.WatchOptions{Since: w.fresh(), Field: "node", Value: ""})
	none := w.create("c/x", "")
	w.remove("c/x", none)
	want(t, "without a node", []string{
		fmt.Sprintf("added c/x=@%d was none", none),
		fmt.Sprintf("deleted c/x=@%d was c/x=@%d", none+1, none),
	}, drain(t, nowhere, 2))
	for _, watcher := range []*cache.Watcher{exact, namespace, node, both, nowhere} {
		watcher.Stop()
		_, err := watcher.Next(t.Context())
		wantKind(t, err, errkind.Unavailable)
	}
	if got := w.cache.Stats().Tables["configmaps"].Watchers; got != 0 {
		t.Errorf("%d watchers are left", got)
	}
}

func TestWatchMatchTransitions(t *testing.T) {
	w := start(t, memory.New())
	watcher := w.watch(cache.WatchOptions{Since: w.fresh(), Match: func(e cache.Entry) bool { return e.Labels()["app"] == "web" }})
	r1 := w.create("a/x", "1")
	r2 := w.update("a/x", r1, "2", "app=web")
	r3 := w.update("a/x", r2, "3", "app=web")
	r4 := w.update("a/x", r3, "4")
	r5 := w.update("a/x", r4, "5")
	w.remove("a/x", r5)
	r7 := w.create("a/y", "7", "app=web")
	want(t, "changes", []string{
		fmt.Sprintf("added a/x=2@%d was none", r2),
		fmt.Sprintf("modified a/x=3@%d was a/x=2@%d", r3, r2),
		fmt.Sprintf("deleted a/x=3@%d was a/x=3@%d", r4, r3),
		fmt.Sprintf("added a/y=7@%d was none", r7),
	}, drain(t, watcher, 4))
}

func TestFramesAreMadeOnce(t *testing.T) {
	w := start(t, memory.New())
	type form struct{ media, shape string }
	made := map[form]int{}
	watchers := []*cache.Watcher{}
	for range 5 {
		watchers = append(watchers, w.watch(cache.WatchOptions{Since: w.fresh()}))
	}
	w.create("a/x", "1")
	for _, watcher := range watchers {
		changes, err := watcher.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []form{{"json", "full"}, {"json", "table"}} {
			data, err := changes[0].Frame(f, func(c cache.Change) ([]byte, error) {
				made[f]++
				return []byte(f.shape + " " + c.Entry.Name()), nil
			})
			if err != nil || string(data) != f.shape+" x" {
				t.Errorf("frame = %q, %v", data, err)
			}
		}
	}
	if len(made) != 2 || made[form{"json", "full"}] != 1 || made[form{"json", "table"}] != 1 {
		t.Errorf("frames made: %v, want each once", made)
	}
	data, err := cache.Change{Type: cache.Added}.Frame(1, func(cache.Change) ([]byte, error) { return []byte("alone"), nil })
	if err != nil || string(data) != "alone" {
		t.Errorf("frame of a change of one's own = %q, %v", data, err)
	}
}

func TestSlowWatcherIsClosed(t *testing.T) {
	w := start(t, memory.New())
	slow := w.watch(cache.WatchOptions{Since: w.fresh(), Queue: 3})
	patient := w.watch(cache.WatchOptions{Since: w.fresh(), Queue: -1})
	for i := range 10 {
		w.create(fmt.Sprintf("a/k%d", i), "1")
	}
	w.fresh()
	drain(t, patient, 10)
	_, err := slow.Next(t.Context())
	wantKind(t, err, errkind.Unavailable)
	if got := w.cache.Stats().Tables["configmaps"]; got.Slow != 1 || got.Watchers != 1 {
		t.Errorf("slow %d, watchers %d, want 1 and 1", got.Slow, got.Watchers)
	}
}

func TestBookmarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, memory.New())
		watcher := w.watch(cache.WatchOptions{Since: w.fresh(), Prefix: "b/", Bookmarks: true})
		silent := w.watch(cache.WatchOptions{Since: w.fresh()})
		began := time.Now()
		r := w.create("a/x", "1") // not this watcher's
		want(t, "after a minute", []string{fmt.Sprintf("bookmark@%d", r)}, drain(t, watcher, 1))
		if waited := time.Since(began); waited < 30*time.Second || waited > 2*time.Minute {
			t.Errorf("the bookmark came after %v", waited)
		}
		watcher.Bookmark()
		want(t, "on demand", []string{fmt.Sprintf("bookmark@%d", r)}, drain(t, watcher, 1))
		want(t, "without bookmarks", []string{fmt.Sprintf("added a/x=1@%d was none", r)}, drain(t, silent, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if _, err := silent.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("next = %v, want nothing to come", err)
		}
		w.stop()
		_, err := silent.Next(t.Context())
		wantKind(t, err, errkind.Unavailable)
	})
}

func TestHistoryAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, memory.New())
		r := w.create("a/x", "1")
		w.fresh()
		w.watch(cache.WatchOptions{Since: r - 1})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		_, err := w.table().Watch(cache.WatchOptions{Since: r - 1})
		wantKind(t, err, errkind.Expired)
		w.watch(cache.WatchOptions{Since: r})
		w.stop()
	})
}

func TestUnusedObjectsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, memory.New())
		w.create("a/x", "1")
		w.fresh()
		e, _ := w.table().Get("a/x")
		first := e.Object()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if e.Object() == first {
			t.Error("an object that nobody used for ten minutes is still there")
		}
		if showEntry(e) != fmt.Sprintf("a/x=1@%d", e.Revision()) {
			t.Errorf("decoded again: %s", showEntry(e))
		}
		w.stop()
	})
}

// TestWatchBegunBetweenApplyAndDelivery subscribes to one table while the feed delivers to another: the change is in the tables
// already and in no watcher's queue yet.
func TestWatchBegunBetweenApplyAndDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var between func()
		other := "/registry/secrets/"
		store := &held{Store: memory.New()}
		w := start(t, store, func(c *cache.Config) {
			fieldsOf := c.Resources[0].Fields
			c.Resources[0].Fields = func(o cache.Object) fields.Set {
				if o.GetName() == "hook" {
					between()
				}
				return fieldsOf(o)
			}
			c.Resources = append(c.Resources, configMaps("secrets", other))
		})
		w.watch(cache.WatchOptions{Since: w.fresh(), Field: "node", Value: "n"}) // makes delivery look at fields
		since := w.fresh()
		store.hold()
		w.create("a/1", "n")
		synctest.Wait() // held back alone
		w.create("a/2", "n")
		synctest.Wait() // waits alone behind it
		w.create("a/hook", "n")
		r1, err := store.Create(t.Context(), other+"a/x", value("a/x", "1"))
		if err != nil {
			t.Fatal(err)
		}
		var early *cache.Watcher
		between = func() {
			if early, err = w.cache.Table("secrets").Watch(cache.WatchOptions{Since: since}); err != nil {
				t.Error(err)
			}
		}
		store.release()
		w.fresh()
		synctest.Wait()
		r2, err := store.Update(t.Context(), other+"a/x", value("a/x", "2"), r1)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "changes", []string{
			fmt.Sprintf("added a/x=1@%d was none", r1),
			fmt.Sprintf("modified a/x=2@%d was a/x=1@%d", r2, r1),
		}, drain(t, early, 2))
		w.stop()
	})
}

// TestWatchersFollowConcurrentWriters holds snapshot plus changes against the store's end state, while writers, watchers of every
// width and their beginnings interleave.
func TestWatchersFollowConcurrentWriters(t *testing.T) {
	t.Run("memory", func(t *testing.T) { followWriters(t, memory.New()) })
	t.Run("etcd", func(t *testing.T) { followWriters(t, embedded(t)) })
	t.Run("asked for its revision", func(t *testing.T) { followWriters(t, &remote{Store: embedded(t)}) })
}

func followWriters(t *testing.T, store storage.Store) {
	w := start(t, store)
	const writers, writes, followers = 4, 150, 8
	var (
		writing, following sync.WaitGroup
		last               [writers]int64
	)
	states := make([]map[string]string, followers)
	narrow := func(i int) cache.WatchOptions {
		switch i % 4 {
		case 1:
			return cache.WatchOptions{Prefix: "ns1/"}
		case 2:
			return cache.WatchOptions{Field: "node", Value: "n1"}
		case 3:
			return cache.WatchOptions{Prefix: "ns2/k1", Exact: true}
		}
		return cache.WatchOptions{}
	}
	final := make(chan int64, followers)
	for i := range followers {
		following.Go(func() {
			opts := narrow(i)
			opts.Queue = -1
			time.Sleep(time.Duration(i) * time.Millisecond)
			states[i] = follow(t, w, opts, final)
		})
	}
	for i := range writers {
		writing.Go(func() { last[i] = scribble(w, i, writes) })
	}
	writing.Wait()
	end := w.fresh()
	for range followers {
		final <- end
	}
	following.Wait()
	for i, got := range states {
		opts := narrow(i)
		expect := map[string]string{}
		w.table().Snapshot().Ascend("", "", func(e cache.Entry) bool {
			if within(e, opts) {
				expect[e.Key()] = showEntry(e)
			}
			return true
		})
		if fmt.Sprint(got) != fmt.Sprint(expect) {
			t.Errorf("follower %d (%+v):\n got %v\nwant %v", i, opts, got, expect)
		}
	}
}

// scribble writes at random to the keys of one namespace.
func scribble(w *world, seed, writes int) (last int64) {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	at := map[string]int64{}
	for range writes {
		key := fmt.Sprintf("ns%d/k%d", seed, random.IntN(4))
		node := fmt.Sprintf("n%d", random.IntN(3))
		switch {
		case at[key] == 0:
			at[key] = w.create(key, node)
			last = at[key]
		case random.IntN(3) == 0:
			last = w.remove(key, at[key])
			delete(at, key)
		default:
			at[key] = w.update(key, at[key], node)
			last = at[key]
		}
	}
	return last
}

// follow builds a state from a snapshot and the changes after it, until the final revision has been seen. It subscribes anew,
// from the last revision it saw, after every handful of changes.
func follow(t *testing.T, w *world, opts cache.WatchOptions, final <-chan int64) map[string]string {
	state := map[string]string{}
	s, watcher, err := w.table().SnapshotAndWatch(opts)
	if err != nil {
		t.Error(err)
		return nil
	}
	s.Ascend("", "", func(e cache.Entry) bool {
		if within(e, opts) {
			state[e.Key()] = showEntry(e)
		}
		return true
	})
	opts.Since = s.Revision()
	writing, stop := context.WithCancel(t.Context())
	end := int64(0)
	go func() { end = <-final; stop() }()
	for {
		changes, err := watcher.Next(writing)
		if errors.Is(err, context.Canceled) {
			watcher.Bookmark() // what is before it has been delivered
			changes, err = watcher.Next(t.Context())
		}
		if err != nil {
			t.Error(err)
			return nil
		}
		for _, c := range changes {
			if c.Type == cache.Bookmark {
				if c.Revision >= end {
					watcher.Stop()
					return state
				}
				continue
			}
			if c.Revision <= opts.Since {
				t.Errorf("change at %d after %d", c.Revision, opts.Since)
			}
			opts.Since = c.Revision
			if _, known := state[c.Entry.Key()]; known != (c.Type != cache.Added) {
				t.Errorf("%s, but known = %v", showChange(c), known)
			}
			state[c.Entry.Key()] = showEntry(c.Entry)
			if c.Type == cache.Deleted {
				delete(state, c.Entry.Key())
			}
		}
		watcher.Stop()
		if watcher, err = w.table().Watch(opts); err != nil {
			t.Error(err)
			return nil
		}
	}
}

// within says whether a watcher with the options is concerned with the entry.
func within(e cache.Entry, opts cache.WatchOptions) bool {
	if opts.Field != "" && e.Fields()[opts.Field] != opts.Value {
		return false
	}
	if opts.Exact {
		return e.Key() == opts.Prefix
	}
	return strings.HasPrefix(e.Key(), opts.Prefix)
}
