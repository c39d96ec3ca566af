package etcd_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestExternalWithTLS(t *testing.T) {
	address := freeAddress(t)
	tls, err := transport.SelfCert(zap.NewNop(), filepath.Join(t.TempDir(), "tls"), []string{address}, 1, x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	tls.ClientCertAuth, tls.TrustedCAFile = true, tls.CertFile
	cfg := embed.NewConfig()
	cfg.Dir, cfg.TickMs, cfg.ElectionMs = t.TempDir(), 10, 50
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	u := url.URL{Scheme: "https", Host: address}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls, cfg.ListenPeerUrls = []url.URL{u}, []url.URL{u}, nil
	cfg.ClientTLSInfo = tls
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	m, err := etcd.NewExternal(etcd.ExternalConfig{
		Endpoints: []string{u.String()}, CertFile: tls.CertFile, KeyFile: tls.KeyFile, CAFile: tls.CertFile})
	if err != nil {
		t.Fatal(err)
	}
	store, _ := start(t, m)
	if _, err := store.Create(t.Context(), "/registry/a", []byte("1")); err != nil {
		t.Error(err)
	}
}

func TestExternalRefusesBadConfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for name, cfg := range map[string]etcd.ExternalConfig{
		"no endpoint":  {},
		"missing file": {Endpoints: []string{"https://127.0.0.1:1"}, CAFile: missing},
	} {
		if _, err := etcd.NewExternal(cfg); !errors.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

// TestExternalComesBack restarts the cluster under a watch.
func TestExternalComesBack(t *testing.T) {
	address, dir := "http://"+freeAddress(t), t.TempDir()
	_, stop := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir, ListenClient: address}))
	m, err := etcd.NewExternal(etcd.ExternalConfig{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	store, _ := start(t, m)
	watch := store.Watch(t.Context(), "/registry/", 0)
	first, err := store.Create(t.Context(), "/registry/a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	inside, _ := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir, ListenClient: address}))
	second, err := inside.Update(t.Context(), "/registry/a", []byte("2"), first)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for reached := int64(0); reached < second; {
		select {
		case batch, ok := <-watch:
			if !ok || batch.Err != nil {
				t.Fatalf("the watch ended: %v", batch.Err)
			}
			for _, e := range batch.Events {
				if e.KV.ModRevision != first && e.KV.ModRevision != second || e.KV.ModRevision <= reached {
					t.Errorf("event at %d after %d, want %d and %d once each", e.KV.ModRevision, reached, first, second)
				}
				reached = e.KV.ModRevision
			}
		case <-deadline:
			t.Fatal("the change after the restart does not arrive")
		}
	}
}

func TestExternalNamesTheReason(t *testing.T) {
	address := freeAddress(t)
	var mu sync.Mutex
	var out strings.Builder
	said := make(chan struct{}, 1)
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "err" {
			select {
			case said <- struct{}{}:
			default:
			}
		}
		return a
	}}))
	m, err := etcd.NewExternal(etcd.ExternalConfig{Endpoints: []string{"https://" + address}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	<-said
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(out.String(), "connection refused") || !strings.Contains(out.String(), address) {
		t.Errorf("logged %q, want the address and why it does not answer", out.String())
	}
}
