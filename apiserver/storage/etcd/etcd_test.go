package etcd_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
	"github.com/cuppa-project/cuppa/apiserver/storage/storagetest"
)

// member is what the tests need of Embedded and External.
type member interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Store() *etcd.Store
}

// start runs the member until the test ends or stop is called, which waits for it.
func start(t testing.TB, m member) (store *etcd.Store, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	select {
	case <-m.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("start: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the store does not become ready")
	}
	return m.Store(), stop
}

func embedded(t testing.TB, cfg etcd.EmbeddedConfig) *etcd.Embedded {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	m, err := etcd.NewEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEmbedded(t *testing.T) {
	store, _ := start(t, embedded(t, etcd.EmbeddedConfig{Unsafe: true}))
	storagetest.Run(t, func(*testing.T) storage.Store { return store })
}

func TestExternal(t *testing.T) {
	address := "http://" + freeAddress(t)
	start(t, embedded(t, etcd.EmbeddedConfig{Unsafe: true, ListenClient: address}))
	m, err := etcd.NewExternal(etcd.ExternalConfig{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	store, _ := start(t, m)
	if _, ok := store.RevisionNow(); ok {
		t.Error("an external store claims to know its revision without asking")
	}
	storagetest.Run(t, func(*testing.T) storage.Store { return store })
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
