// Package apiservertest starts the real API server inside a test: over memory storage, with TLS, on a loopback port of its own.
//
// Nothing in it is a fake but the store, which passes the same suite as the real one. There are no controllers; what pods
// need of them (a default service account in every namespace) is made here unless Bare is set. Start with New.
package apiservertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/allocate"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
)

// Options change what New starts. The zero value is what most tests want.
type Options struct {
	// Store is used instead of a new memory store; a second server on the same store is a restart.
	Store storage.Store
	// Bare leaves out the default service accounts.
	Bare bool
	// Change, if set, may change the server's configuration before it is made.
	Change func(*apiserver.Config)
}

// Server is a running API server.
type Server struct {
	*apiserver.Server
	Store storage.Store
	// Config reaches the server as an administrator.
	Config *rest.Config

	authority *authority
	address   string
	stop      func()
	dir       string
}

// New starts a server and stops it when the test ends. It returns once the server is ready.
func New(t testing.TB, options ...Options) *Server {
	t.Helper()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.Store == nil {
		o.Store = memory.New()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	ca := newAuthority(t)
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	services, err := allocate.New(allocate.Config{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
	if err != nil {
		t.Fatalf("make the allocator: %v", err)
	}
	config := apiserver.Config{
		Store: o.Store, Listener: listener, TLS: ca.server(t),
		AccountKey: accountKey, Services: services,
	}
	if o.Change != nil {
		o.Change(&config)
	}
	server, err := apiserver.New(config)
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	s := &Server{Server: server, Store: o.Store, authority: ca, address: listener.Addr().String()}
	s.Config = s.Client(t, "admin", "system:masters")
	s.run(t, o.Bare)
	return s
}

func (s *Server) run(t testing.TB, bare bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Server.Run(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the server: %v", err)
		}
	}
	t.Cleanup(s.stop)
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("run the server: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not become ready in 30 s")
	}
	if !bare {
		s.accounts(ctx, t)
	}
}

// Stop stops the server before the test ends.
func (s *Server) Stop() { s.stop() }

// accounts puts a default service account into every namespace, first into those that are there.
func (s *Server) accounts(ctx context.Context, t testing.TB) {
	t.Helper()
	door := s.As(authn.User{Name: "admin", Groups: []string{"system:masters"}})
	add := func(namespace string) {
		_, _ = door.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace}}) // it may exist already
	}
	if _, err := s.Cache().Fresh(ctx); err != nil {
		t.Fatalf("wait for the memory: %v", err)
	}
	table := door.Table(corev1.SchemeGroupVersion.WithResource("namespaces"))
	snapshot, watcher, err := table.SnapshotAndWatch(cache.WatchOptions{Queue: -1})
	if err != nil {
		t.Fatalf("watch namespaces: %v", err)
	}
	snapshot.Ascend("", "", func(e cache.Entry) bool { add(e.Name()); return true })
	go func() {
		defer watcher.Stop()
		for {
			changes, err := watcher.Next(ctx)
			if err != nil {
				return
			}
			for _, change := range changes {
				if change.Type == cache.Added {
					add(change.Entry.Name())
				}
			}
		}
	}()
}

// Local is the server's door inside the process, as an administrator.
func (s *Server) Local() *apiserver.Local {
	return s.As(authn.User{Name: "admin", Groups: []string{"system:masters"}})
}

// Client returns how to reach the server with a client certificate of that name and those groups.
func (s *Server) Client(t testing.TB, name string, groups ...string) *rest.Config {
	t.Helper()
	cert, key := s.authority.issue(t, name, groups, nil)
	return &rest.Config{
		Host: "https://" + s.address, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.authority.pem, CertData: cert, KeyData: key},
	}
}

// Anonymous returns how to reach the server without credentials.
func (s *Server) Anonymous() *rest.Config {
	return &rest.Config{Host: "https://" + s.address, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: s.authority.pem}}
}

// Kubeconfig writes a kubeconfig file for an administrator and returns its path.
func (s *Server) Kubeconfig(t testing.TB) string {
	t.Helper()
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: s.Config.Host, CertificateAuthorityData: s.authority.pem}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: s.Config.CertData, ClientKeyData: s.Config.KeyData}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	config.CurrentContext = "test"
	path := filepath.Join(s.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatalf("write the kubeconfig: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority is a certificate authority for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue signs a certificate for a name; with addresses it is a server's.
func (a *authority) issue(t testing.TB, name string, groups []string, addresses []net.IP) (cert, key []byte) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	usage := x509.ExtKeyUsageClientAuth
	if len(addresses) > 0 {
		usage = x509.ExtKeyUsageServerAuth
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: addresses, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) server(t testing.TB) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, "apiserver", nil, []net.IP{net.IPv4(127, 0, 0, 1)})
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool}
}
