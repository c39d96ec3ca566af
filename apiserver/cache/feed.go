package cache

import (
	"context"
	"errors"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

const (
	bookmarkEvery = time.Minute
	sweepEvery    = 2 * time.Minute
	historyAge    = 5 * time.Minute
	retryFirst    = 100 * time.Millisecond
	retryLast     = 5 * time.Second
)

// Run loads everything and follows the store until ctx ends. While the store cannot be reached it tries again.
func (c *Cache) Run(ctx context.Context) error {
	defer func() {
		close(c.done)
		c.tables.Load().all(func(t *Table) { t.closeWatchers(errStopped()) })
	}()
	return run.Group(ctx, c.follow, c.tick, c.trim, c.answerRevisions, c.askProgress)
}

// follow loads, then applies what the watch delivers; it starts over when the history it needs is gone.
func (c *Cache) follow(ctx context.Context) error {
	wait := retryFirst
	for {
		revision, err := c.load(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			c.log.Error("load the cache", "err", err)
			if !run.Pause(ctx, wait) {
				return nil
			}
			wait = min(2*wait, retryLast)
			continue
		}
		wait = retryFirst
		if behind := c.clock.applied.Load(); revision < behind {
			// A store restored from a backup. What clients hold is of another history; only a new start tells them.
			return errkind.New(errkind.Precondition, "the store went back from revision %d to %d", behind, revision)
		}
		if !isClosed(c.ready) {
			close(c.ready)
		}
		for batch := range c.cfg.Store.Watch(ctx, c.cfg.Prefix, revision+1) {
			if batch.Err != nil {
				err = batch.Err
				break
			}
			c.apply(batch)
		}
		if ctx.Err() != nil {
			return nil
		}
		c.counters.reloads.Add(1)
		c.log.Error("the watch on the store ended, loading again", "err", err)
		if !errors.Is(err, errkind.Expired) && !run.Pause(ctx, retryFirst) {
			return nil
		}
	}
}

// load reads the whole store page by page, as of one revision, and installs it.
func (c *Cache) load(ctx context.Context) (int64, error) {
	var (
		set      *tables
		from     string
		revision int64
		loaded   = map[*Table][]*entry{}
	)
	for {
		page, err := c.cfg.Store.Range(ctx, c.cfg.Prefix, from, c.cfg.PageSize, revision)
		if err != nil {
			return 0, err
		}
		if set == nil {
			// A table added after this point reads its own state, at this revision or later, and gets every change from
			// there on from the watch.
			set, revision = c.tables.Load(), page.Revision
		}
		for _, kv := range page.KVs {
			t := set.find(kv.Key)
			if t == nil {
				continue
			}
			loaded[t] = append(loaded[t], t.entry(kv))
			if next := set.beside[t]; next != nil {
				loaded[next] = append(loaded[next], next.entry(kv))
			}
		}
		if !page.More || len(page.KVs) == 0 {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	set.all(func(t *Table) { t.install(loaded[t], revision) })
	c.clock.advance(revision)
	c.clock.delivered.Store(revision)
	return revision, nil
}

// apply puts a batch into the tables, then moves the cursor on, then hands the changes to the watchers.
func (c *Cache) apply(batch storage.Batch) {
	c.feed.Lock()
	defer c.feed.Unlock()
	set := c.tables.Load()
	var touched []*Table
	for _, e := range batch.Events {
		t := set.find(e.KV.Key)
		if t == nil {
			continue
		}
		touched = t.receive(e, touched)
		if len(set.beside) > 0 && set.beside[t] != nil {
			touched = set.beside[t].receive(e, touched)
		}
	}
	for _, t := range touched {
		t.apply(t.incoming)
		clear(t.incoming)
		t.incoming = t.incoming[:0]
	}
	c.clock.advance(batch.Revision)
	for _, t := range touched {
		t.deliver()
	}
	c.clock.delivered.Store(batch.Revision)
	c.counters.batches.Add(1)
}

// receive puts the event into the table's part of the batch, and the table among those that have one.
func (t *Table) receive(e storage.Event, touched []*Table) []*Table {
	if len(t.incoming) == 0 {
		touched = append(touched, t)
	}
	t.incoming = append(t.incoming, e)
	return touched
}

// tick does what is due by the clock: bookmarks, ageing of the history, and dropping decoded objects nobody used.
func (c *Cache) tick(ctx context.Context) error {
	bookmarks := time.NewTicker(bookmarkEvery)
	defer bookmarks.Stop()
	sweeps := time.NewTicker(sweepEvery)
	defer sweeps.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-bookmarks.C:
			c.tables.Load().all(func(t *Table) {
				t.bookmark()
				t.age(time.Now())
			})
		case <-sweeps.C:
			c.tables.Load().all(func(t *Table) { t.sweep() })
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
