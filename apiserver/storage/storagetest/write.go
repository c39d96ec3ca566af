package storagetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func testGet(t *testing.T, f *fixture) {
	_, before, err := f.Get(t.Context(), f.key("a"))
	f.wantKind(err, errkind.NotFound)
	if before <= 0 {
		t.Errorf("a miss reports revision %d, want the store's", before)
	}
	created := f.create("a", "1")
	changed := f.update("a", "2", created)
	f.create("b", "other")
	kv, revision, err := f.Get(t.Context(), f.key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if kv.Key != f.key("a") || string(kv.Value) != "2" || kv.CreateRevision != created || kv.ModRevision != changed {
		t.Errorf("get = %+v, want value 2 created at %d and changed at %d", kv, created, changed)
	}
	if revision <= changed {
		t.Errorf("the store is at %d after a later write than %d", revision, changed)
	}
}

func testCreate(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	_, err := f.Create(t.Context(), f.key("a"), []byte("2"))
	f.wantKind(err, errkind.Exists)
	removed := f.remove("a", first)
	again := f.create("a", "")
	if again <= removed {
		t.Errorf("created again at %d, removed at %d", again, removed)
	}
	kv, _, err := f.Get(t.Context(), f.key("a"))
	if err != nil || len(kv.Value) != 0 || kv.CreateRevision != again {
		t.Errorf("get = %+v, %v, want an empty value created at %d", kv, err, again)
	}
}

func testUpdate(t *testing.T, f *fixture) {
	_, err := f.Update(t.Context(), f.key("a"), []byte("1"), 1)
	f.wantKind(err, errkind.NotFound)
	first := f.create("a", "1")
	second := f.update("a", "2", first)
	for _, expect := range []int64{first, second + 1, 0} {
		_, err = f.Update(t.Context(), f.key("a"), []byte("3"), expect)
		f.wantKind(err, errkind.Conflict)
	}
	f.wantPage(f.page("", 0, 0), false, "a=2")
}

func testDelete(t *testing.T, f *fixture) {
	_, err := f.Delete(t.Context(), f.key("a"), 1)
	f.wantKind(err, errkind.NotFound)
	first := f.create("a", "1")
	second := f.update("a", "2", first)
	for _, expect := range []int64{first, 0} {
		_, err = f.Delete(t.Context(), f.key("a"), expect)
		f.wantKind(err, errkind.Conflict)
	}
	removed := f.remove("a", second)
	if removed <= second {
		t.Errorf("removed at %d, changed at %d", removed, second)
	}
	_, _, err = f.Get(t.Context(), f.key("a"))
	f.wantKind(err, errkind.NotFound)
	_, err = f.Delete(t.Context(), f.key("a"), second)
	f.wantKind(err, errkind.NotFound)
}

func testEmptyKey(t *testing.T, f *fixture) {
	_, err := f.Create(t.Context(), "", []byte("1"))
	f.wantKind(err, errkind.Invalid)
}

func testEndedContext(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"get":      func() error { _, _, err := f.Get(ctx, f.key("a")); return err },
		"range":    func() error { _, err := f.Range(ctx, f.prefix, "", 0, 0); return err },
		"create":   func() error { _, err := f.Create(ctx, f.key("b"), nil); return err },
		"update":   func() error { _, err := f.Update(ctx, f.key("a"), nil, first); return err },
		"delete":   func() error { _, err := f.Delete(ctx, f.key("a"), first); return err },
		"compact":  func() error { return f.Compact(ctx, first) },
		"progress": func() error { return f.Progress(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) || !errors.Is(err, errkind.Unavailable) {
			t.Errorf("%s with an ended context: %v, want Unavailable and the context's error", name, err)
		}
	}
	f.wantPage(f.page("", 0, 0), false, "a=1")
}

func testValuesImmutable(t *testing.T, f *fixture) {
	value := []byte("1")
	first, err := f.Create(t.Context(), f.key("a"), value)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := f.Get(t.Context(), f.key("a"))
	if err != nil {
		t.Fatal(err)
	}
	f.update("a", "2", first)
	if string(kept.Value) != "1" {
		t.Errorf("a value read earlier became %q", kept.Value)
	}
}

func testRevisions(t *testing.T, f *fixture) {
	before, err := f.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := f.create("a", "1")
	second := f.update("a", "1", first)
	third := f.remove("a", second)
	if first <= before || second <= first || third <= second {
		t.Errorf("revisions %d, %d, %d, %d do not grow", before, first, second, third)
	}
	after, err := f.Revision(t.Context())
	if err != nil || after < third {
		t.Errorf("revision = %d, %v after a write at %d", after, err, third)
	}
}

func testConcurrentCreate(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		wg.Go(func() { _, results[i] = f.Create(t.Context(), f.key("a"), []byte(strconv.Itoa(i))) })
	}
	wg.Wait()
	won := -1
	for i, err := range results {
		switch {
		case err == nil && won >= 0:
			t.Errorf("creators %d and %d both won", won, i)
		case err == nil:
			won = i
		default:
			f.wantKind(err, errkind.Exists)
		}
	}
	if won < 0 {
		t.Fatal("nobody won")
	}
	f.wantPage(f.page("", 0, 0), false, "a="+strconv.Itoa(won))
}

func testConcurrentUpdate(t *testing.T, f *fixture) {
	const writers, each = 8, 12
	f.create("n", "0")
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				kv, _, err := f.Get(t.Context(), f.key("n"))
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(kv.Value))
				_, err = f.Update(t.Context(), kv.Key, []byte(strconv.Itoa(n+1)), kv.ModRevision)
				switch {
				case err == nil:
					done++
				case !errors.Is(err, errkind.Conflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	f.wantPage(f.page("", 0, 0), false, "n="+strconv.Itoa(writers*each))
}
