// Package etcd is the API server's store on etcd: embedded in this process, or an external cluster. One Store serves both.
//
// Store is written against clientv3's KV and Watcher alone. Embedded and External bring such a client to life and end it. The
// package knows nothing of kinds or encodings. Start with Store, then Embedded.
package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config is what a Store is made of.
type Config struct {
	Client *clientv3.Client
	// Now returns the present revision where that needs no round trip: a single member in this process. Nil: never.
	Now func() (int64, bool)
}

// Store is a storage.Store on etcd. Every write is one transaction on one key. Each method looks at ctx first: within one process
// a call with an ended context may otherwise still win.
type Store struct {
	client *clientv3.Client
	now    func() (int64, bool)
}

var (
	_ storage.Store   = (*Store)(nil)
	_ storage.Instant = (*Store)(nil)
)

// New returns a store that uses the client. It does not close it.
func New(cfg Config) (*Store, error) {
	if cfg.Client == nil {
		return nil, errkind.New(errkind.Invalid, "etcd store needs a client")
	}
	s := &Store{client: cfg.Client, now: cfg.Now}
	if s.now == nil {
		s.now = func() (int64, bool) { return 0, false }
	}
	return s, nil
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) (storage.KV, int64, error) {
	if err := ctx.Err(); err != nil {
		return storage.KV{}, 0, kinded("get", key, err)
	}
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return storage.KV{}, 0, kinded("get", key, err)
	}
	if len(resp.Kvs) == 0 {
		return storage.KV{}, resp.Header.Revision, notFound(key)
	}
	kv := resp.Kvs[0]
	return storage.KV{Key: key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision},
		resp.Header.Revision, nil
}

// Range implements storage.Store.
func (s *Store) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	if err := ctx.Err(); err != nil {
		return storage.Page{}, kinded("range", prefix, err)
	}
	start, end := bounds(prefix)
	resp, err := s.client.Get(ctx, max(start, from), clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(revision))
	if err != nil {
		return storage.Page{}, kinded("range", prefix, err)
	}
	page := storage.Page{Revision: revision, More: resp.More, Count: resp.Count, KVs: make([]storage.KV, len(resp.Kvs))}
	if revision == 0 {
		page.Revision = resp.Header.Revision
	}
	for i, kv := range resp.Kvs {
		page.KVs[i] = storage.KV{Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
	}
	return page, nil
}

// bounds returns the half-open range of keys with the prefix, as etcd wants it.
func bounds(prefix string) (start, end string) {
	if prefix == "" {
		return "\x00", "\x00"
	}
	return prefix, clientv3.GetPrefixRangeEnd(prefix)
}

// Create implements storage.Store.
func (s *Store) Create(ctx context.Context, key string, value []byte) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kinded("create", key, err)
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, text(value))).
		Commit()
	if err != nil {
		return 0, kinded("create", key, err)
	}
	if !resp.Succeeded {
		return 0, errkind.New(errkind.Exists, "key %q already exists", key)
	}
	return resp.Header.Revision, nil
}

// Update implements storage.Store.
func (s *Store) Update(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	return s.change(ctx, "update", key, expect, clientv3.OpPut(key, text(value)))
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	return s.change(ctx, "delete", key, expect, clientv3.OpDelete(key))
}

// change does op if the key is at the revision. The other branch reads, so that one round trip also says what is wrong.
func (s *Store) change(ctx context.Context, verb, key string, expect int64, op clientv3.Op) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kinded(verb, key, err)
	}
	if expect <= 0 {
		// etcd would take 0 for "absent", which is Create's business.
		if _, _, err := s.Get(ctx, key); err != nil {
			return 0, err
		}
		return 0, errkind.New(errkind.Conflict, "%s %q: it is there, and not at revision %d", verb, key, expect)
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", expect)).
		Then(op).
		Else(clientv3.OpGet(key, clientv3.WithKeysOnly())).
		Commit()
	if err != nil {
		return 0, kinded(verb, key, err)
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	if found := resp.Responses[0].GetResponseRange().GetKvs(); len(found) > 0 {
		return 0, errkind.New(errkind.Conflict, "key %q is at revision %d, not %d", key, found[0].ModRevision, expect)
	}
	return 0, notFound(key)
}

// Revision implements storage.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, kinded("read the revision", "", err)
	}
	if revision, ok := s.now(); ok {
		return revision, nil
	}
	resp, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return 0, kinded("read the revision", "", err)
	}
	return resp.Header.Revision, nil
}

// RevisionNow implements storage.Instant.
func (s *Store) RevisionNow() (int64, bool) { return s.now() }

// Progress implements storage.Store.
func (s *Store) Progress(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return kinded("ask for progress", "", err)
	}
	// The request goes to the stream of watches whose context carries the same metadata, so it must be like that of watch.
	if err := s.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		return kinded("ask for progress", "", err)
	}
	return nil
}

// Compact implements storage.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := ctx.Err(); err != nil {
		return kinded("compact", "", err)
	}
	// Physical: it returns when the room is free, not when that has been noted.
	_, err := s.client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	switch {
	case err == nil, errors.Is(err, rpctypes.ErrCompacted):
		return nil
	case errors.Is(err, rpctypes.ErrFutureRev):
		return errkind.New(errkind.Invalid, "compact at %d: %w", revision, err)
	}
	return kinded("compact", "", err)
}

func notFound(key string) error { return errkind.New(errkind.NotFound, "key %q not found", key) }

// kinded gives etcd's error our kind.
func kinded(verb, key string, err error) error {
	kind := errkind.Unavailable
	for _, row := range []struct{ err, kind error }{
		{rpctypes.ErrCompacted, errkind.Expired},
		{rpctypes.ErrEmptyKey, errkind.Invalid},
		{rpctypes.ErrRequestTooLarge, errkind.Invalid},
		{rpctypes.ErrNoSpace, errkind.Exhausted},
		{rpctypes.ErrPermissionDenied, errkind.Denied},
		{rpctypes.ErrAuthFailed, errkind.Denied},
	} {
		if errors.Is(err, row.err) {
			kind = row.kind
		}
	}
	if key == "" {
		return errkind.New(kind, "%s: %w", verb, err)
	}
	return errkind.New(kind, "%s %q: %w", verb, key, err)
}
