// Package storagetest is the suite that every storage.Store passes: one subtest per rule in storage.go.
//
// It is not a benchmark, and it knows nothing of how a store is made. Start with Run.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// Run holds a store against the rules. Open returns an empty store, or one that is shared between the subtests: each of them
// uses keys of its own and takes revisions only relative to what it has seen.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, rule := range []struct {
		name string
		test func(t *testing.T, s *fixture)
	}{
		{"get tells absence and revision", testGet},
		{"create refuses a key that exists", testCreate},
		{"update wants the expected revision", testUpdate},
		{"delete wants the expected revision", testDelete},
		{"an empty key is invalid", testEmptyKey},
		{"an ended context fails every call", testEndedContext},
		{"values handed over stay as they are", testValuesImmutable},
		{"revisions grow by one per write", testRevisions},
		{"range pages in key order", testRangePages},
		{"range keeps to its prefix", testRangePrefix},
		{"range reads as of an old revision", testRangeOld},
		{"range refuses a future revision", testRangeFuture},
		{"pages at one revision ignore later writes", testPagesAtRevision},
		{"concurrent creators: one wins", testConcurrentCreate},
		{"concurrent updates lose nothing", testConcurrentUpdate},
		{"watch delivers from now on", testWatchNow},
		{"watch delivers from a past revision", testWatchPast},
		{"watch from a distant past keeps order", testWatchDistantPast},
		{"watch from a future revision waits", testWatchFuture},
		{"watch tells creation, change and removal", testWatchEvents},
		{"watch resumes without gap or repetition", testWatchResume},
		{"a slow reader loses nothing", testWatchSlow},
		{"watch ends with its context", testWatchEnds},
		{"watchers under concurrent writers see every write in order", testWatchConcurrent},
		{"progress reaches the present revision", testProgress},
		{"compaction expires old reads and watches", testCompact},
		{"compaction keeps the compacted revision itself", testCompactBoundary},
	} {
		t.Run(rule.name, func(t *testing.T) {
			rule.test(t, &fixture{t: t, Store: open(t), prefix: fmt.Sprintf("/registry/t%d/", time.Now().UnixNano())})
		})
	}
}

// fixture is a store with the helpers that the rules are told in.
type fixture struct {
	storage.Store
	t      *testing.T
	prefix string
}

func (f *fixture) key(name string) string { return f.prefix + name }

func (f *fixture) create(name, value string) int64 {
	f.t.Helper()
	revision, err := f.Create(f.t.Context(), f.key(name), []byte(value))
	if err != nil {
		f.t.Fatalf("create %s: %v", name, err)
	}
	return revision
}

func (f *fixture) update(name, value string, expect int64) int64 {
	f.t.Helper()
	revision, err := f.Update(f.t.Context(), f.key(name), []byte(value), expect)
	if err != nil {
		f.t.Fatalf("update %s: %v", name, err)
	}
	return revision
}

func (f *fixture) remove(name string, expect int64) int64 {
	f.t.Helper()
	revision, err := f.Delete(f.t.Context(), f.key(name), expect)
	if err != nil {
		f.t.Fatalf("delete %s: %v", name, err)
	}
	return revision
}

func (f *fixture) wantKind(err, kind error) {
	f.t.Helper()
	if !errors.Is(err, kind) {
		f.t.Errorf("error = %v, want one of kind %q", err, kind)
	}
}

// names lists the range as "name=value", names without the prefix.
func (f *fixture) names(page storage.Page) []string {
	out := []string{}
	for _, kv := range page.KVs {
		out = append(out, kv.Key[len(f.prefix):]+"="+string(kv.Value))
	}
	return out
}

func (f *fixture) page(from string, limit, revision int64) storage.Page {
	f.t.Helper()
	if from != "" {
		from = f.key(from)
	}
	page, err := f.Range(f.t.Context(), f.prefix, from, limit, revision)
	if err != nil {
		f.t.Fatalf("range from %q at %d: %v", from, revision, err)
	}
	return page
}

func (f *fixture) wantPage(page storage.Page, more bool, want ...string) {
	f.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), f.names(page)); diff != "" {
		f.t.Errorf("range (-want +got):\n%s", diff)
	}
	if page.More != more {
		f.t.Errorf("More = %v, want %v", page.More, more)
	}
}

// stream reads a watch event by event.
type stream struct {
	f       *fixture
	ch      <-chan storage.Batch
	cancel  context.CancelFunc
	pending []storage.Event
	reached int64
}

func (f *fixture) watch(from int64) *stream {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	return &stream{f: f, ch: f.Watch(ctx, f.prefix, from), cancel: cancel}
}

const patience = 20 * time.Second

// batch returns the next batch; fails when none comes.
func (s *stream) batch() storage.Batch {
	s.f.t.Helper()
	select {
	case batch, ok := <-s.ch:
		if !ok {
			s.f.t.Fatal("the watch ended")
		}
		if batch.Err == nil {
			s.check(batch)
		}
		return batch
	case <-time.After(patience):
		s.f.t.Fatal("the watch delivers nothing")
	}
	return storage.Batch{}
}

// check holds a batch against what the ones before promised.
func (s *stream) check(batch storage.Batch) {
	s.f.t.Helper()
	if batch.Revision < s.reached {
		s.f.t.Errorf("batch goes back from revision %d to %d", s.reached, batch.Revision)
	}
	last := s.reached
	for _, e := range batch.Events {
		if e.KV.ModRevision <= s.reached || e.KV.ModRevision < last || e.KV.ModRevision > batch.Revision {
			s.f.t.Errorf("event at revision %d in a batch to %d, after %d", e.KV.ModRevision, batch.Revision, last)
		}
		last = e.KV.ModRevision
	}
	s.reached = batch.Revision
}

func (s *stream) next() storage.Event {
	s.f.t.Helper()
	for len(s.pending) == 0 {
		batch := s.batch()
		if batch.Err != nil {
			s.f.t.Fatalf("the watch failed: %v", batch.Err)
		}
		s.pending = batch.Events
	}
	e := s.pending[0]
	s.pending = s.pending[1:]
	return e
}

// want reads as many events as given, each as "put name=value@revision" or "delete name@revision".
func (s *stream) want(events ...string) {
	s.f.t.Helper()
	var got []string
	for range events {
		got = append(got, s.f.show(s.next()))
	}
	if diff := cmp.Diff(events, got); diff != "" {
		s.f.t.Errorf("events (-want +got):\n%s", diff)
	}
}

func (f *fixture) show(e storage.Event) string {
	name := e.KV.Key[len(f.prefix):]
	if e.Type == storage.Delete {
		return fmt.Sprintf("delete %s@%d", name, e.KV.ModRevision)
	}
	verb := "change"
	if e.KV.CreateRevision == e.KV.ModRevision {
		verb = "create"
	}
	return fmt.Sprintf("%s %s=%s@%d", verb, name, e.KV.Value, e.KV.ModRevision)
}

// wantError reads until the watch fails, then wants it closed.
func (s *stream) wantError(kind error) {
	s.f.t.Helper()
	for {
		batch := s.batch()
		if batch.Err == nil {
			continue
		}
		s.f.wantKind(batch.Err, kind)
		break
	}
	s.wantClosed()
}

func (s *stream) wantClosed() {
	s.f.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-s.ch:
			if !ok {
				return
			}
		case <-deadline:
			s.f.t.Fatal("the watch's channel stays open")
		}
	}
}
