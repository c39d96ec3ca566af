package storagetest

import (
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func testRangePages(t *testing.T, f *fixture) {
	for _, name := range []string{"d", "a", "c", "b", "e"} {
		f.create(name, name)
	}
	f.wantPage(f.page("", 0, 0), false, "a=a", "b=b", "c=c", "d=d", "e=e")
	first := f.page("", 2, 0)
	f.wantPage(first, true, "a=a", "b=b")
	if first.Count != 5 {
		t.Errorf("Count = %d, want 5", first.Count)
	}
	second := f.page("b\x00", 2, 0)
	f.wantPage(second, true, "c=c", "d=d")
	if second.Count != 3 {
		t.Errorf("Count = %d, want 3", second.Count)
	}
	f.wantPage(f.page("e", 2, 0), false, "e=e")
	f.wantPage(f.page("f", 2, 0), false)
}

func testRangePrefix(t *testing.T, f *fixture) {
	f.create("a/1", "x")
	f.create("a/2", "y")
	f.create("a0", "z") // the first name after "a/"
	page, err := f.Range(t.Context(), f.key("a/"), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.wantPage(page, false, "a/1=x", "a/2=y")
	all, err := f.Range(t.Context(), "", "", 0, 0)
	if err != nil || len(all.KVs) < 3 {
		t.Errorf("range over everything = %d keys, %v", len(all.KVs), err)
	}
}

func testRangeOld(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	second := f.create("b", "1")
	third := f.update("a", "2", first)
	fourth := f.remove("b", second)
	fifth := f.create("b", "2")
	for _, row := range []struct {
		revision int64
		want     []string
	}{
		{first, []string{"a=1"}},
		{second, []string{"a=1", "b=1"}},
		{third, []string{"a=2", "b=1"}},
		{fourth, []string{"a=2"}},
		{fifth, []string{"a=2", "b=2"}},
	} {
		page := f.page("", 0, row.revision)
		f.wantPage(page, false, row.want...)
		if page.Revision != row.revision {
			t.Errorf("page is as of %d, want %d", page.Revision, row.revision)
		}
		if page.Count != int64(len(row.want)) {
			t.Errorf("Count at %d = %d, want %d", row.revision, page.Count, len(row.want))
		}
	}
	if now := f.page("", 0, 0); now.Revision < fifth {
		t.Errorf("a read of now is as of %d, before the write at %d", now.Revision, fifth)
	}
}

func testRangeFuture(t *testing.T, f *fixture) {
	revision, err := f.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Range(t.Context(), f.prefix, "", 0, revision+1000)
	f.wantKind(err, errkind.Unavailable)
}

func testPagesAtRevision(t *testing.T, f *fixture) {
	a := f.create("a", "1")
	f.create("b", "1")
	c := f.create("c", "1")
	first := f.page("", 1, 0)
	f.update("c", "2", c)
	f.remove("a", a)
	f.create("bb", "new")
	f.wantPage(first, true, "a=1")
	f.wantPage(f.page("a\x00", 0, first.Revision), false, "b=1", "c=1")
}

func testCompact(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	second := f.update("a", "2", first)
	third := f.update("a", "3", second)
	f.wantKind(f.Compact(t.Context(), third+1000), errkind.Invalid)
	for range 2 { // the second time does nothing
		if err := f.Compact(t.Context(), third); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Compact(t.Context(), first); err != nil {
		t.Errorf("compact at an older revision: %v", err)
	}
	_, err := f.Range(t.Context(), f.prefix, "", 0, second)
	f.wantKind(err, errkind.Expired)
	f.wantPage(f.page("", 0, third), false, "a=3")
	f.wantPage(f.page("", 0, 0), false, "a=3")
	f.watch(first).wantError(errkind.Expired)
	fourth := f.update("a", "4", third)
	f.watch(fourth).want(f.show(storage.Event{KV: storage.KV{Key: f.key("a"), Value: []byte("4"), ModRevision: fourth}}))
}

func testCompactBoundary(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	second := f.create("b", "1")
	third := f.remove("a", first)
	if err := f.Compact(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	fourth := f.update("b", "2", second)
	f.wantPage(f.page("", 0, third), false, "b=1")
	removal := storage.Event{Type: storage.Delete, KV: storage.KV{Key: f.key("a"), ModRevision: third}}
	change := storage.Event{KV: storage.KV{Key: f.key("b"), Value: []byte("2"), ModRevision: fourth}}
	f.watch(third).want(f.show(removal), f.show(change))
}
