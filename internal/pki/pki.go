// Package pki is Cuppa's own certificate authority: one root per cluster, certificates issued from it, all as files.
//
// It holds no policy about who may have which certificate. Start with Open; request.go is for those who ask an authority that is elsewhere, and
// for that authority; rotate.go renews certificates while they are in use.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// How long certificates live, and how long before their end they are issued anew.
const (
	rootLife   = 10 * 365 * 24 * time.Hour
	leafLife   = 365 * 24 * time.Hour
	renewAhead = 60 * 24 * time.Hour
	backdate   = 5 * time.Minute // for peers whose clock is a little behind
)

// Authority is a certificate authority whose files lie in one directory.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// Request says what a certificate is for.
type Request struct {
	Name          string   // file name, without ending
	CommonName    string   // the user, for clients
	Organizations []string // the groups, for clients
	DNSNames      []string
	IPs           []net.IP
	Server        bool // may serve; otherwise it is a client's
}

// Pair is a certificate and its key, in PEM form.
type Pair struct{ Cert, Key []byte }

// TLS returns the pair as crypto/tls wants it.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// Open reads the authority in dir, making it (and dir, mode 0700) if there is none.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	pair, err := read(dir, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		pair, err = newRoot(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate authority in %s: %w", dir, err)
	}
	t, err := pair.TLS()
	if err != nil {
		return nil, damaged(dir, err)
	}
	cert, err := x509.ParseCertificate(t.Certificate[0])
	if err != nil {
		return nil, damaged(dir, err)
	}
	return &Authority{dir: dir, cert: cert, key: t.PrivateKey.(crypto.Signer), pem: pair.Cert}, nil
}

// damaged says what can be done about an authority whose files make no sense.
func damaged(dir string, err error) error {
	return errkind.New(errkind.Invalid, "the certificate authority in %s/ca.crt and ca.key is damaged: %w; restore both files from a backup, or remove both to make a new authority (kubeconfigs that were handed out end then)",
		dir, err)
}

// PEM returns the root certificate.
func (a *Authority) PEM() []byte { return a.pem }

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue returns the certificate for the request: the one on disk if it still fits and is not about to end, else a new one.
func (a *Authority) Issue(req Request) (Pair, error) {
	if pair, err := read(a.dir, req.Name); err == nil && a.fits(pair, req) {
		return pair, nil
	}
	return a.Renew(req)
}

// Renew returns a new certificate for the request, and keeps it on disk in the place of the one before.
func (a *Authority) Renew(req Request) (Pair, error) {
	pair, err := a.sign(req)
	if err == nil {
		err = write(a.dir, req.Name, pair)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate %q: %w", req.Name, err)
	}
	return pair, nil
}

func (a *Authority) fits(pair Pair, req Request) bool {
	t, err := pair.TLS()
	if err != nil {
		return false
	}
	cert, err := x509.ParseCertificate(t.Certificate[0])
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil || time.Until(cert.NotAfter) < renewAhead {
		return false
	}
	sameIPs := slices.EqualFunc(cert.IPAddresses, req.IPs, func(x, y net.IP) bool { return x.Equal(y) })
	return cert.Subject.CommonName == req.CommonName && slices.Equal(cert.Subject.Organization, req.Organizations) &&
		slices.Equal(cert.DNSNames, req.DNSNames) && sameIPs
}

func (a *Authority) sign(req Request) (Pair, error) {
	usage := x509.ExtKeyUsageClientAuth
	if req.Server {
		usage = x509.ExtKeyUsageServerAuth
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: req.CommonName, Organization: req.Organizations},
		NotAfter:    time.Now().Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
		DNSNames:    req.DNSNames,
		IPAddresses: req.IPs,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	return certify(template, a.cert, key, a.key)
}

func newRoot(dir string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "cuppa-ca"},
		NotAfter:              time.Now().Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	pair, err := certify(template, template, key, key)
	if err != nil {
		return Pair{}, err
	}
	return pair, write(dir, "ca", pair)
}

func certify(template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (Pair, error) {
	cert, err := certificate(template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}, nil
}

// certificate makes the certificate of a public key, in PEM form: it gets a number, and begins a little in the past.
func certificate(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-backdate)
	if template.NotAfter.After(parent.NotAfter) {
		template.NotAfter = parent.NotAfter // nobody believes it any longer than that
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Load reads a certificate and its key from name.crt and name.key in dir; the error is fs.ErrNotExist if there are none. Store writes them, for the
// owner's eyes, and makes dir (mode 0700) if there is none.
func Load(dir, name string) (Pair, error) { return read(dir, name) }

// Store is Load's other side.
func Store(dir, name string, pair Pair) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store certificate %q: %w", name, err)
	}
	if err := write(dir, name, pair); err != nil {
		return fmt.Errorf("store certificate %q: %w", name, err)
	}
	return nil
}

func read(dir, name string) (Pair, error) {
	cert, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, name+".key"))
	return Pair{cert, key}, err
}

// write stores the key first: a certificate without its key would be taken for a damaged pair.
func write(dir, name string, pair Pair) error {
	if err := atomicfile.Write(filepath.Join(dir, name+".key"), pair.Key, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, name+".crt"), pair.Cert, 0o644)
}

// SigningKey returns the key in dir/name.key, making it if there is none. Service account tokens are signed with it.
func SigningKey(dir, name string) (crypto.Signer, error) {
	path := filepath.Join(dir, name+".key")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make signing key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("make signing key: %w", err)
		}
		return key, atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errkind.New(errkind.Invalid, "the signing key %s is damaged: it holds no PEM block; restore it from a backup, or remove it to make a new one (all tokens end then)", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "the signing key %s is damaged: %w; restore it from a backup, or remove it to make a new one (all tokens end then)", path, err)
	}
	return key.(crypto.Signer), nil
}
