package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// rotating makes a certificate of an authority in memory's time, and runs its renewal until the test ends.
func rotating(t *testing.T, ca *Authority, change func(*RotatingConfig)) *Rotating {
	t.Helper()
	req := Request{Name: "server", CommonName: "server", DNSNames: []string{"server"}, Server: true}
	config := RotatingConfig{Name: "server", Logger: slog.New(slog.DiscardHandler), Jitter: func() float64 { return 0.5 },
		First: func() (Pair, error) { return ca.Issue(req) }, Renew: func(context.Context) (Pair, error) { return ca.Renew(req) }}
	if change != nil {
		change(&config)
	}
	r, err := NewRotating(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

func open(t *testing.T) *Authority {
	t.Helper()
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// valid holds that a client believes the certificate now.
func valid(t *testing.T, ca *Authority, r *Rotating) *tls.Certificate {
	t.Helper()
	cert, err := r.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "server", CurrentTime: time.Now()}); err != nil {
		t.Errorf("at %s: %v", time.Now(), err)
	}
	return cert
}

// TestNeverExpired lives through nine years, and looks every day.
func TestNeverExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := open(t)
		kept, used := 0, 0
		r := rotating(t, ca, func(c *RotatingConfig) {
			c.Keep = func(Pair) error { kept++; return nil }
			c.Used = func() { used++ }
		})
		seen := map[string]bool{}
		for range 9 * 365 {
			time.Sleep(24 * time.Hour)
			seen[valid(t, ca, r).Leaf.SerialNumber.String()] = true
		}
		// 80 % of a year each.
		if len(seen) != 12 || kept != 12 || used != 11 || r.Failures() != 0 {
			t.Errorf("got %d certificates, of which %d were kept, news of %d renewals, and %d failures; want 12, 12, 11 and 0", len(seen), kept, used, r.Failures())
		}
		client, _ := r.GetClientCertificate(nil)
		if server, _ := r.GetCertificate(nil); client != server {
			t.Error("clients are shown another certificate than servers")
		}
	})
}

// TestRenewalFails holds that a renewal that fails is tried again, ever more seldom, and that the old certificate serves meanwhile.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := open(t)
		var tries []time.Duration
		begun := time.Now()
		var broken atomic.Bool
		broken.Store(true)
		r := rotating(t, ca, func(c *RotatingConfig) {
			renew := c.Renew
			c.Renew = func(ctx context.Context) (Pair, error) {
				fails := broken.Load()
				tries = append(tries, time.Since(begun))
				if fails {
					return Pair{}, errors.New("nobody answers")
				}
				return renew(ctx)
			}
		})
		first := valid(t, ca, r)
		time.Sleep(300 * 24 * time.Hour)
		synctest.Wait()
		if valid(t, ca, r) != first || r.Failures() < 3 || len(tries) < 3 {
			t.Fatalf("after %d tries: %d failures", len(tries), r.Failures())
		}
		if a, b := tries[1]-tries[0], tries[2]-tries[1]; a != again || b != 2*again {
			t.Errorf("tried again after %s and %s, want %s and %s", a, b, again, 2*again)
		}
		if last := tries[len(tries)-1] - tries[len(tries)-2]; last != look {
			t.Errorf("the last tries are %s apart, want %s", last, look)
		}
		broken.Store(false)
		time.Sleep(2 * look)
		if valid(t, ca, r) == first {
			t.Error("it was not renewed when that became possible")
		}
	})
}

// TestEndOfAuthority holds that no certificate claims to live longer than its authority, and that the end makes nobody run hot.
func TestEndOfAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := open(t)
		renewals := 0
		r := rotating(t, ca, func(c *RotatingConfig) {
			renew := c.Renew
			c.Renew = func(ctx context.Context) (Pair, error) { renewals++; return renew(ctx) }
		})
		time.Sleep(time.Until(ca.cert.NotAfter) - time.Hour)
		synctest.Wait()
		if r.Ends().After(ca.cert.NotAfter) {
			t.Errorf("the certificate ends at %s, after its authority at %s", r.Ends(), ca.cert.NotAfter)
		}
		valid(t, ca, r)
		if renewals > 60 {
			t.Errorf("renewed %d times", renewals)
		}
	})
}

func TestRenewAt(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for jitter, want := range map[float64]time.Duration{0: 70 * time.Hour, 0.5: 80 * time.Hour, 1: 90 * time.Hour} {
		if got := renewAt(begin, begin.Add(100*time.Hour), jitter).Sub(begin).Round(time.Second); got != want {
			t.Errorf("jitter %v: after %s, want %s", jitter, got, want)
		}
	}
}

// TestFirstFails holds that a certificate that cannot be had, or not be kept, is an error at once.
func TestFirstFails(t *testing.T) {
	ca := open(t)
	fail := func() (Pair, error) { return Pair{}, errors.New("no") }
	if _, err := NewRotating(RotatingConfig{Name: "x", First: fail}); err == nil {
		t.Error("without a certificate: got no error")
	}
	_, err := NewRotating(RotatingConfig{Name: "x", First: func() (Pair, error) { return ca.Issue(Request{Name: "x"}) }, Keep: func(Pair) error { return errors.New("disk full") }})
	if err == nil || err.Error() != `certificate "x": disk full` {
		t.Errorf("that cannot be kept: %v", err)
	}
}
