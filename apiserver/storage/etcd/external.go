package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// ExternalConfig says which etcd cluster to use.
type ExternalConfig struct {
	Endpoints []string // "https://10.0.0.1:2379", ...
	// The client's certificate and the authority that signed the servers'. All empty: no TLS beyond what the endpoints say.
	CertFile, KeyFile, CAFile string
	Logger                    *slog.Logger // gets the client's errors; nil: none
	// History is how long old revisions can still be read and watched from; 0: five minutes. Servers of one cluster should
	// agree on it: the shortest wins.
	History time.Duration
}

// External is the connection to an etcd cluster that somebody else runs.
type External struct {
	cfg   ExternalConfig
	tls   *tls.Config
	ready chan struct{}
	store *Store
}

// NewExternal checks the configuration and reads the TLS files; Run connects.
func NewExternal(cfg ExternalConfig) (*External, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errkind.New(errkind.Invalid, "external etcd needs at least one endpoint")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &External{cfg: cfg, ready: make(chan struct{})}
	if cfg.CertFile == "" && cfg.KeyFile == "" && cfg.CAFile == "" {
		return e, nil
	}
	info := transport.TLSInfo{CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, TrustedCAFile: cfg.CAFile, Logger: zapTo(cfg.Logger)}
	var err error
	if e.tls, err = info.ClientConfig(); err != nil {
		return nil, errkind.New(errkind.Invalid, "read the TLS files for etcd: %w", err)
	}
	return e, nil
}

// Ready is closed once the cluster has answered for the first time.
func (e *External) Ready() <-chan struct{} { return e.ready }

// Store is the cluster's store, from Ready on; nil before.
func (e *External) Store() *Store {
	select {
	case <-e.ready:
		return e.store
	default:
		return nil
	}
}

// Run holds the connection until ctx ends. A cluster that cannot be reached is tried again for as long.
func (e *External) Run(ctx context.Context) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            e.cfg.Endpoints,
		TLS:                  e.tls,
		Logger:               zapTo(e.cfg.Logger),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
		MaxCallSendMsgSize:   16 << 20,
	})
	if err != nil {
		return errkind.New(errkind.Invalid, "connect to etcd at %v: %w", e.cfg.Endpoints, err)
	}
	defer client.Close()
	store, err := New(Config{Client: client})
	if err != nil {
		return err
	}
	for {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := store.Revision(limited)
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		e.cfg.Logger.Error("cannot reach etcd, trying again", "endpoints", e.cfg.Endpoints, "err", e.diagnose(ctx, err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	e.store = store
	close(e.ready)
	return keepHistory(store, e.cfg.History, e.cfg.Logger)(ctx)
}

// diagnose looks for the reason behind the client's error, which is mostly that the time was up.
func (e *External) diagnose(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, endpoint := range e.cfg.Endpoints {
		u, bad := url.Parse(endpoint)
		if bad != nil || u.Host == "" {
			continue
		}
		conn, bad := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if bad == nil && u.Scheme == "https" {
			cfg := &tls.Config{}
			if e.tls != nil {
				cfg = e.tls.Clone()
			}
			cfg.ServerName = u.Hostname()
			bad = tls.Client(conn, cfg).HandshakeContext(ctx)
		}
		if conn != nil {
			_ = conn.Close()
		}
		if bad != nil {
			return fmt.Errorf("%w (%s: %w)", err, endpoint, bad)
		}
	}
	return err
}
