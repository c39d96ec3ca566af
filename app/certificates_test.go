package app

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cuppa-project/cuppa/api"
)

// TestCertificatesLastAsLongAsTheServer lives through two years of a server, and looks every week at what its clients would see.
func TestCertificatesLastAsLongAsTheServer(t *testing.T) {
	data, run := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, err := newControl(Config{DataDir: data, RunDir: run, NodeName: "n1", Listen: ":6443", Logger: slog.New(slog.DiscardHandler)}, Ranges{}, net.IPv4(192, 0, 2, 1))
		if err != nil {
			t.Fatal(err)
		}
		if c.url, err = localURL(&net.TCPAddr{Port: 6443}); err != nil {
			t.Fatal(err)
		}
		if err := c.writeKubeconfigs(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.certs.run(ctx) }()
		for range 104 {
			time.Sleep(7 * 24 * time.Hour)
			for _, k := range []struct{ path, name, group string }{
				{Kubeconfig(data), "admin", api.GroupMasters}, {ComposeKubeconfig(run), "compose", api.GroupCompose},
			} {
				believed(t, c, clientOf(t, k.path), x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, k.name, k.group)
			}
		}
		figures(t, c)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// figures holds that every certificate shows when it ends, and how often it could not be renewed.
func figures(t *testing.T, c *control) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c.certs)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()]++
			if ends := m.GetGauge().GetValue(); f.GetName() == "cuppa_certificate_expiration_timestamp_seconds" && ends <= float64(time.Now().Unix()) {
				t.Errorf("%s: %v has ended", f.GetName(), m.GetLabel())
			}
		}
	}
	want := map[string]int{"cuppa_certificate_expiration_timestamp_seconds": 2, "cuppa_certificate_renew_errors_total": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
}

// clientOf reads the certificate in a kubeconfig, which nobody else may read.
func clientOf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, %v; want mode 600", path, info, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" {
		t.Errorf("%s is for %s", path, config.Host)
	}
	block, _ := pem.Decode(config.CertData)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func believed(t *testing.T, c *control, cert *x509.Certificate, options x509.VerifyOptions, name, group string) {
	t.Helper()
	options.Roots, options.CurrentTime = c.certs.ca.Pool(), time.Now()
	if _, err := cert.Verify(options); err != nil {
		t.Errorf("at %s, %s: %v", time.Now(), name, err)
	}
	if cert.Subject.CommonName != name || !slices.Equal(cert.Subject.Organization, []string{group}) {
		t.Errorf("the certificate is for %s, want %s of %s", cert.Subject, name, group)
	}
}
