package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestSign: a certificate has the request's names and the authority's terms, and its key is the requester's.
func TestSign(t *testing.T) {
	for name, c := range map[string]struct {
		life time.Duration
		want time.Duration
	}{
		"a year if nothing is said":              {0, leafLife - backdate},
		"no more than a year":                    {2 * leafLife, leafLife - backdate},
		"a day begins and ends a little early":   {24 * time.Hour, 24*time.Hour - backdate},
		"a short one is as long as it is wished": {10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, err := Open(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				key, raw, err := NewRequest(Request{CommonName: "system:node:n1", Organizations: []string{"system:nodes"}, DNSNames: []string{"n1"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}})
				if err != nil {
					t.Fatal(err)
				}
				request, err := ParseRequest(raw)
				if err != nil {
					t.Fatal(err)
				}
				cert, err := ca.Sign(request, Terms{Usage: x509.KeyUsageDigitalSignature, Extended: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Life: c.life})
				if err != nil {
					t.Fatal(err)
				}
				pair, err := Pair{Cert: cert, Key: key}.TLS() // fails if they do not belong together
				if err != nil {
					t.Fatal(err)
				}
				leaf := pair.Leaf
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "n1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
					t.Error(err)
				}
				if leaf.Subject.CommonName != "system:node:n1" || !slices.Equal(leaf.Subject.Organization, []string{"system:nodes"}) || len(leaf.IPAddresses) != 1 || leaf.IsCA {
					t.Errorf("certificate for %v, %v, CA %v", leaf.Subject, leaf.IPAddresses, leaf.IsCA)
				}
				if got := time.Until(leaf.NotAfter); got != c.want {
					t.Errorf("it is valid for %v from now, want %v", got, c.want)
				}
			})
		})
	}
}

// TestSignRefuses: whoever does not have the key gets no certificate of it.
func TestSignRefuses(t *testing.T) {
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, raw, err := NewRequest(Request{CommonName: "jane"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	block.Bytes[len(block.Bytes)-1] ^= 1 // in the signature
	forged, err := ParseRequest(pem.EncodeToMemory(block))
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := ca.Sign(forged, Terms{}); err == nil {
		t.Errorf("signed: %s", cert)
	}
	for _, raw := range []string{"", "nonsense", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseRequest([]byte(raw)); err == nil {
			t.Errorf("%q was taken for a request", raw)
		}
	}
}
