package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// RotatingConfig says where a certificate comes from. All but Keep, Used and Jitter is required.
type RotatingConfig struct {
	Name string // for people and figures: "apiserver"
	// First is the certificate to begin with, Renew a new one in its place. Renew may ask somebody else, and take as long as it needs.
	First func() (Pair, error)
	Renew func(ctx context.Context) (Pair, error)
	// Keep is told of every certificate before it is used, the first among them: it writes it where others read it. Nil: nobody needs it.
	Keep func(Pair) error
	// Used is told of every renewal, once the new certificate is in use. Nil: nobody needs it.
	Used func()
	// Jitter returns a number of [0, 1), which spreads renewals. Nil: a random one.
	Jitter func() float64
	Logger *slog.Logger
}

// Rotating is a certificate that is renewed while it is in use. Connections that are open keep the one they began with.
type Rotating struct {
	config   RotatingConfig
	current  atomic.Pointer[tls.Certificate]
	failures atomic.Int64
}

// NewRotating gets the first certificate. Nothing is renewed before Run.
func NewRotating(config RotatingConfig) (*Rotating, error) {
	if config.Jitter == nil {
		config.Jitter = rand.Float64
	}
	r := &Rotating{config: config}
	pair, err := config.First()
	if err == nil {
		err = r.use(pair)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", config.Name, err)
	}
	return r, nil
}

func (r *Rotating) use(pair Pair) error {
	cert, err := pair.TLS()
	if err != nil {
		return err
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return err
		}
	}
	if r.config.Keep != nil {
		if err := r.config.Keep(pair); err != nil {
			return err
		}
	}
	r.current.Store(&cert)
	return nil
}

// Name is the certificate's.
func (r *Rotating) Name() string { return r.config.Name }

// Ends is when the certificate in use ends.
func (r *Rotating) Ends() time.Time { return r.current.Load().Leaf.NotAfter }

// Failures counts renewals that did not succeed.
func (r *Rotating) Failures() int64 { return r.failures.Load() }

// GetCertificate is for tls.Config.
func (r *Rotating) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.current.Load(), nil
}

// GetClientCertificate is for tls.Config.
func (r *Rotating) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.current.Load(), nil
}

// How long a renewal waits: never longer than look, for a clock can be put forward; after a failure at least again, then longer, up to look.
const (
	look  = time.Hour
	again = 10 * time.Second
)

// Run renews the certificate until ctx ends.
func (r *Rotating) Run(ctx context.Context) error {
	leaf := r.current.Load().Leaf
	due := renewAt(leaf.NotBefore, leaf.NotAfter, r.config.Jitter())
	failed := 0
	for {
		if !sleep(ctx, pause(time.Until(due), failed)) {
			return nil
		}
		if time.Now().Before(due) {
			continue
		}
		if err := r.renew(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			failed++
			r.failures.Add(1)
			r.config.Logger.Warn("cannot renew a certificate", "certificate", r.config.Name, "ends", r.Ends(), "err", err)
			continue
		}
		failed = 0
		leaf = r.current.Load().Leaf
		// An authority near its own end gives certificates that are due at once.
		due = later(renewAt(leaf.NotBefore, leaf.NotAfter, r.config.Jitter()), time.Now().Add(look))
		r.config.Logger.Info("renewed a certificate", "certificate", r.config.Name, "ends", leaf.NotAfter)
	}
}

func (r *Rotating) renew(ctx context.Context) error {
	pair, err := r.config.Renew(ctx)
	if err != nil {
		return err
	}
	if err := r.use(pair); err != nil {
		return err
	}
	if r.config.Used != nil {
		r.config.Used()
	}
	return nil
}

// renewAt is a moment between 70 and 90 % of a certificate's life, so that what was begun together is not renewed together.
func renewAt(begin, end time.Time, jitter float64) time.Time {
	life := end.Sub(begin)
	return begin.Add(time.Duration(float64(life) * (0.7 + 0.2*jitter)))
}

// pause is how long to wait with so much time left, after so many failures.
func pause(left time.Duration, failed int) time.Duration {
	if failed > 0 {
		return min(again<<min(failed-1, 16), look)
	}
	return min(max(left, 0), look)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sleep is false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
