package storagetest_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/apiserver/storage/storagetest"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// TestFaultyIsHonest: a store before which no fault has been put keeps all rules.
func TestFaultyIsHonest(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return storagetest.NewFaulty(memory.New()) })
}

func TestFaults(t *testing.T) {
	ctx := t.Context()
	lost := errkind.New(errkind.Unavailable, "the answer is lost")
	full := errkind.New(errkind.Exhausted, "no room")
	for _, c := range []struct {
		name  string
		fault storagetest.Fault
		want  []string // what four creations give, and whether their key is there
	}{
		{"none", storagetest.Fault{Op: storagetest.Get, Prefix: "/elsewhere", Err: lost}, []string{"done", "done", "done", "done"}},
		{"the third write", storagetest.Fault{Op: storagetest.Write, Skip: 2, Times: 1, Err: lost}, []string{"done", "done", "the answer is lost", "done"}},
		{"all from the second on", storagetest.Fault{Op: storagetest.Create, Skip: 1, Err: full}, []string{"done", "no room", "no room", "no room"}},
		{"two by their key", storagetest.Fault{Prefix: "/b", Times: 2, Err: full}, []string{"done", "no room", "done", "no room"}},
		{"a lost answer", storagetest.Fault{Times: 1, Err: lost, Done: true}, []string{"the answer is lost, and it is there", "done", "done", "done"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := memory.New()
			f := storagetest.NewFaulty(inner)
			f.Inject(c.fault)
			var got []string
			for _, key := range []string{"/a/1", "/b/1", "/a/2", "/b/2"} {
				_, err := f.Create(ctx, key, nil)
				_, _, missing := inner.Get(ctx, key)
				switch {
				case err == nil && missing == nil:
					got = append(got, "done")
				case err != nil && missing == nil:
					got = append(got, err.Error()+", and it is there")
				case err != nil:
					got = append(got, err.Error())
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("creations (-want +got):\n%s\n%s", diff, f)
			}
		})
	}
}

func TestFaultEnds(t *testing.T) {
	f := storagetest.NewFaulty(memory.New())
	end := f.Inject(storagetest.Fault{Op: storagetest.Revision, Err: errkind.New(errkind.Unavailable, "no answer")})
	if _, err := f.Revision(t.Context()); !errors.Is(err, errkind.Unavailable) {
		t.Errorf("revision of a store that does not answer: %v", err)
	}
	if _, ok := f.RevisionNow(); ok {
		t.Error("a store that does not answer knows its revision at once")
	}
	end()
	if _, err := f.Revision(t.Context()); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	if _, ok := f.RevisionNow(); !ok {
		t.Error("after the fault the revision is not known at once, as the store behind knows it")
	}
}

func TestDelay(t *testing.T) {
	f := storagetest.NewFaulty(memory.New())
	until, held, done := make(chan struct{}), make(chan struct{}), make(chan error)
	f.Inject(storagetest.Fault{Op: storagetest.Create, Times: 1, Until: until, Held: held})
	go func() { _, err := f.Create(t.Context(), "/a", nil); done <- err }()
	<-held
	if _, _, err := f.Get(t.Context(), "/a"); !errors.Is(err, errkind.NotFound) {
		t.Errorf("a write that is held back has happened: %v", err)
	}
	close(until)
	if err := <-done; err != nil {
		t.Errorf("the delayed write: %v", err)
	}
}

func TestWatchFaults(t *testing.T) {
	ctx := t.Context()
	f := storagetest.NewFaulty(memory.New())
	release := f.HoldWatches()
	w := f.Watch(ctx, "/", 0)
	if _, err := f.Create(ctx, "/a", nil); err != nil {
		t.Fatal(err)
	}
	release()
	if batch := <-w; len(batch.Events) != 1 || batch.Err != nil {
		t.Errorf("after it was held back the watch delivers %+v", batch)
	}
	gone := errkind.New(errkind.Expired, "compacted")
	f.DropWatches(gone)
	if batch := <-w; !errors.Is(batch.Err, errkind.Expired) {
		t.Errorf("a dropped watch delivers %+v", batch)
	}
	if batch, ok := <-w; ok {
		t.Errorf("%+v after the end", batch)
	}
	f.Inject(storagetest.Fault{Op: storagetest.Watch, Times: 1, Err: gone})
	if batch := <-f.Watch(ctx, "/", 0); !errors.Is(batch.Err, errkind.Expired) {
		t.Errorf("a watch that is refused delivers %+v", batch)
	}
}
