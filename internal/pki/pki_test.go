package pki

import (
	"bytes"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Name: "server", CommonName: "kube-apiserver", DNSNames: []string{"kubernetes"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}
	first, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := first.TLS()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "kubernetes"}); err != nil {
		t.Errorf("certificate does not verify: %v", err)
	}

	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Cert, second.Cert) {
		t.Error("the same request after a restart: got a new certificate, want the one on disk")
	}
	req.DNSNames = append(req.DNSNames, "other")
	third, err := again.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first.Cert, third.Cert) {
		t.Error("another name: got the old certificate, want a new one")
	}
	info, err := os.Stat(filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of the key: got %o, want 600", got)
	}
}

func TestSigningKeyStays(t *testing.T) {
	dir := t.TempDir()
	a, err := SigningKey(dir, "sa")
	if err != nil {
		t.Fatal(err)
	}
	b, err := SigningKey(dir, "sa")
	if err != nil {
		t.Fatal(err)
	}
	der := func(k any) []byte { d, _ := x509.MarshalPKIXPublicKey(k); return d }
	if !bytes.Equal(der(a.Public()), der(b.Public())) {
		t.Error("the key changed between two reads")
	}
}
