package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// NewRequest makes a key and a request for a certificate of it, both in PEM form (PKCS #8 and #10), for an authority that is elsewhere.
func NewRequest(req Request) (key, request []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: req.CommonName, Organization: req.Organizations},
		DNSNames: req.DNSNames, IPAddresses: req.IPs,
	}, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseRequest reads a request in PEM form, and does not check its signature.
func ParseRequest(raw []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// Terms are what an authority grants with a certificate.
type Terms struct {
	Usage    x509.KeyUsage
	Extended []x509.ExtKeyUsage
	Life     time.Duration // from now; 0, or more than the authority gives: a year
}

// short is the life from which on it does not matter to anybody that a certificate ends a little earlier, because it begins in the past.
const short = 8 * time.Hour

// Sign returns the certificate that a request asks for, in PEM form. The request's names go into it as they are, and nothing else that it
// wishes: whether they should is for the caller to decide. A request that is not signed by its own key is refused.
func (a *Authority) Sign(req *x509.CertificateRequest, terms Terms) ([]byte, error) {
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("sign for %q: %w", req.Subject.CommonName, err)
	}
	life := terms.Life
	if life <= 0 || life > leafLife {
		life = leafLife
	}
	end := time.Now().Add(life)
	if life >= short {
		end = end.Add(-backdate)
	}
	cert, err := certificate(&x509.Certificate{
		Subject: req.Subject, DNSNames: req.DNSNames, IPAddresses: req.IPAddresses, EmailAddresses: req.EmailAddresses, URIs: req.URIs,
		NotAfter: end, KeyUsage: terms.Usage, ExtKeyUsage: terms.Extended, BasicConstraintsValid: true,
	}, a.cert, req.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign for %q: %w", req.Subject.CommonName, err)
	}
	return cert, nil
}
