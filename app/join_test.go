package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/controller/certificate"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/remote"
)

const token = "the token of n1"

// place is an API server that answers certificate requests, as a node sees it, and as an administrator does.
type place struct {
	t     *testing.T
	door  door
	ca    *pki.Authority
	admin kube.Cluster
}

// newPlace starts it. Certificates are signed by a function, the authority's own if it is given none; without answers nobody approves or signs anything.
func newPlace(t *testing.T, answers bool, sign ...certificate.Sign) *place {
	t.Helper()
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Request{Name: "apiserver", CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	var url string
	server := apiservertest.New(t, apiservertest.Options{Change: func(c *apiserver.Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.Pool()}
		c.Tokens = []authn.Token{{Hash: authn.HashToken(token), User: authn.User{Name: "system:bootstrap:n1", Groups: []string{api.GroupBootstrappers}, Extra: map[string][]string{api.ExtraNode: {"n1"}}}}}
		if url, err = localURL(c.Listener.Addr()); err != nil {
			t.Fatal(err)
		}
	}})
	logger := slog.New(slog.DiscardHandler)
	as := func(name string, groups ...string) kube.Cluster {
		return local.New(server.Server, authn.User{Name: name, Groups: groups}, logger)
	}
	if answers {
		signer := append(sign, ca.Sign)[0]
		live(t, certificate.New(loop.Deps{Cluster: as("system:controller:certificate"), Logger: logger, Clock: clock.RealClock{}}, signer))
	}
	return &place{t: t, door: door{server: url, ca: ca.PEM(), token: token}, ca: ca, admin: as("admin", api.GroupMasters)}
}

// live runs a part until the test ends.
func live(t *testing.T, part run.Func) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// node is what a node named n1 has of its credentials in a data directory.
func (p *place) node(dir string) *credentials {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.door.ca)
	c := newCredentials(Config{DataDir: dir, NodeName: "n1"}, p.door, pool, slog.New(slog.DiscardHandler))
	p.t.Cleanup(c.close)
	return c
}

// requests are those that were made so far, "who asks: signer", in the order of their making.
func (p *place) requests() string {
	var out []string
	for _, r := range kube.List[*certificatesv1.CertificateSigningRequest](p.admin, kube.CertificateSigningRequests, "", nil) {
		out = append(out, r.Spec.Username+" "+r.Spec.SignerName[strings.LastIndexByte(r.Spec.SignerName, '-')+1:])
	}
	return strings.Join(out, ", ")
}

func (p *place) asked(when string, want int) {
	p.t.Helper()
	if got := len(kube.List[*certificatesv1.CertificateSigningRequest](p.admin, kube.CertificateSigningRequests, "", nil)); got != want {
		p.t.Errorf("%s: %d requests (%s), want %d", when, got, p.requests(), want)
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestJoin: the token gives the first certificate; it is used from disk for as long as it is good; with it the node gets the next one; and when it
// has become void, the token serves again.
func TestJoin(t *testing.T) {
	p, dir, ctx := newPlace(t, true), t.TempDir(), deadline(t)
	c := p.node(dir)
	if err := c.join(ctx); err != nil {
		t.Fatal(err)
	}
	p.asked("the first time", 1)
	whoami := func(c *credentials) error {
		cluster, err := remote.New(remote.Config{REST: c.rest()})
		if err != nil {
			return err
		}
		_, err = kube.MergePatch(ctx, cluster, kube.Nodes, "", "n1", map[string]any{"metadata": map[string]any{"labels": map[string]string{"seen": time.Now().Format("15h04m05.000000000")}}})
		return err
	}
	if _, err := p.admin.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	if err := whoami(c); err != nil {
		t.Errorf("with the first certificate: %v", err)
	}

	again := p.node(dir)
	if err := again.join(ctx); err != nil {
		t.Fatal(err)
	}
	p.asked("from disk", 1)
	if _, err := again.renew(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := p.requests(), "system:bootstrap:n1 kubelet, system:node:n1 kubelet"; !same(got, want) {
		t.Errorf("requests after a renewal: %s, want %s", got, want)
	}

	// Another authority's certificate is no good, on disk or in hand.
	other, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	void, err := other.Issue(pki.Request{Name: "x", CommonName: "system:node:n1", Organizations: []string{api.GroupNodes}})
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.Store(again.dir, clientFile, void); err != nil {
		t.Fatal(err)
	}
	third := p.node(dir)
	if err := third.join(ctx); err != nil {
		t.Fatal(err)
	}
	p.asked("with another authority's on disk", 3)
	cert, err := void.TLS()
	if err != nil {
		t.Fatal(err)
	}
	third.wire.close()
	third.wire = newWire(third.pool, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil })
	if err := whoami(third); err == nil {
		t.Error("another authority's certificate was believed")
	}
	pair, err := third.renew(ctx)
	if err != nil || !good(pair, third.request(), third.pool, time.Now()) {
		t.Errorf("renewal of a void certificate: %v", err)
	}
	p.asked("with a void certificate", 4)
}

// same compares lists whose order is that of generated names.
func same(got, want string) bool {
	if len(got) != len(want) {
		return false
	}
	for _, part := range strings.Split(want, ", ") {
		if !strings.Contains(got, part) {
			return false
		}
	}
	return true
}

// TestJoinWaits: a request that nobody answers is waited for, one that is denied is the end, and one that is removed is made anew.
func TestJoinWaits(t *testing.T) {
	p, ctx := newPlace(t, false), deadline(t)
	c := p.node(t.TempDir())
	done := make(chan error, 1)
	go func() { done <- c.join(ctx) }()
	next := func(but string) *certificatesv1.CertificateSigningRequest {
		t.Helper()
		var found *certificatesv1.CertificateSigningRequest
		testkit.Eventually(t, 10*time.Second, func() error {
			for _, r := range kube.List[*certificatesv1.CertificateSigningRequest](p.admin, kube.CertificateSigningRequests, "", nil) {
				if r.Name != but {
					found = r.DeepCopy()
					return nil
				}
			}
			return errors.New("no request")
		})
		return found
	}
	first := next("")
	if err := p.admin.Delete(ctx, kube.CertificateSigningRequests, "", first.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second := next(first.Name)
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	second.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Reason: "Stranger", Message: "we do not know you"}}
	if _, err := p.admin.UpdateSub(ctx, second, "approval"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, errkind.Denied) || !strings.Contains(err.Error(), "it was denied: Stranger: we do not know you") {
		t.Errorf("denied: %v", err)
	}
}

// TestServing: there is a certificate to serve with once the Node has told of its addresses, and another one when they have changed. Who comes
// earlier waits.
func TestServing(t *testing.T) {
	p, dir, ctx := newPlace(t, true), t.TempDir(), deadline(t)
	c := p.node(dir)
	if err := c.join(ctx); err != nil {
		t.Fatal(err)
	}
	cluster, err := remote.New(remote.Config{REST: c.rest()})
	if err != nil {
		t.Fatal(err)
	}
	live(t, cluster.Run)
	s := newServing(c, cluster, &certificates{})
	live(t, s.run)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: s.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); conn.Close() }()
		}
	}()
	reach := func(name string) error {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: c.pool, ServerName: name})
		if err == nil {
			conn.Close()
		}
		return err
	}
	early := make(chan error, 1)
	go func() { early <- reach("192.0.2.1") }()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if _, err := cluster.Create(ctx, node); err != nil {
		t.Fatal(err)
	}
	tell := func(ip string) {
		t.Helper()
		addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeHostName, Address: "n1"}}
		if _, err := kube.MergePatch(ctx, cluster, kube.Nodes, "", "n1", map[string]any{"status": map[string]any{"addresses": addresses}}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	tell("192.0.2.1")
	if err := <-early; err != nil {
		t.Errorf("who came early: %v", err)
	}
	if err := reach("n1"); err != nil {
		t.Errorf("by name: %v", err)
	}
	tell("192.0.2.2")
	testkit.Eventually(t, 10*time.Second, func() error { return reach("192.0.2.2") })
	if err := reach("192.0.2.1"); err == nil {
		t.Error("the address that it had before is still served")
	}
	if pair, err := pki.Load(c.dir, servingFile); err != nil || !good(pair, servingRequest(&corev1.Node{ObjectMeta: node.ObjectMeta, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}, {Type: corev1.NodeHostName, Address: "n1"}}}}), c.pool, time.Now()) {
		t.Errorf("on disk: %v", err)
	}
}

// TestGood: when a certificate on disk is used.
func TestGood(t *testing.T) {
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Request{Name: "n", CommonName: "system:node:n1", Organizations: []string{"system:nodes"}, DNSNames: []string{"n1"}, IPs: []net.IP{net.IPv4(192, 0, 2, 1)}, Server: true}
	with := func(change func(*pki.Request)) pki.Request {
		req := want
		change(&req)
		return req
	}
	for name, c := range map[string]struct {
		ca   *pki.Authority
		req  pki.Request
		at   time.Time
		want bool
	}{
		"as wanted":            {ca, want, time.Now(), true},
		"of another authority": {other, want, time.Now(), false},
		"after its end":        {ca, want, time.Now().Add(366 * 24 * time.Hour), false},
		"of another node":      {ca, with(func(r *pki.Request) { r.CommonName = "system:node:n2" }), time.Now(), false},
		"of another group":     {ca, with(func(r *pki.Request) { r.Organizations = nil }), time.Now(), false},
		"of another name":      {ca, with(func(r *pki.Request) { r.DNSNames = nil }), time.Now(), false},
		"of another address":   {ca, with(func(r *pki.Request) { r.IPs = nil }), time.Now(), false},
		"for a client":         {ca, with(func(r *pki.Request) { r.Server = false }), time.Now(), false},
	} {
		pair, err := c.ca.Renew(c.req)
		if err != nil {
			t.Fatal(err)
		}
		if got := good(pair, want, ca.Pool(), c.at); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if good(pki.Pair{}, want, ca.Pool(), time.Now()) {
		t.Error("nothing is good")
	}
}

// TestConnectionsAreMadeAnew: after a renewal the connections that were made with the old certificate end, and what came by them goes on by new ones:
// what a node follows, as a whole and one by one, and what it writes.
func TestConnectionsAreMadeAnew(t *testing.T) {
	p, ctx := newPlace(t, true), deadline(t)
	c := p.node(t.TempDir())
	if err := c.join(ctx); err != nil {
		t.Fatal(err)
	}
	cluster, err := remote.New(remote.Config{REST: c.rest()})
	if err != nil {
		t.Fatal(err)
	}
	live(t, cluster.Run)
	all, one := make(chan string, 10), make(chan string, 10)
	if err := kube.Watch(ctx, cluster, kube.Nodes, func(_, node *corev1.Node) { all <- node.Name }); err != nil {
		t.Fatal(err)
	}
	err = cluster.One(ctx, kube.Nodes, "", "n1", func(obj kube.Object) {
		if obj != nil {
			one <- obj.GetName()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c.close() // as after a renewal
	if _, err := cluster.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Errorf("a write: %v", err)
	}
	for what, seen := range map[string]chan string{"as a whole": all, "one by one": one} {
		select {
		case name := <-seen:
			if name != "n1" {
				t.Errorf("%s: saw %s", what, name)
			}
		case <-ctx.Done():
			t.Errorf("%s: saw nothing", what)
		}
	}
}

// TestForeignAuthority: a certificate that nobody here would believe is not used, and the words say what is wrong.
func TestForeignAuthority(t *testing.T) {
	other, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, true, other.Sign)
	c := p.node(t.TempDir())
	_, err = c.bootstrap(deadline(t))
	if !errors.Is(err, errkind.Precondition) || !strings.Contains(err.Error(), "all servers of a cluster must have the same pki/ca.crt") {
		t.Errorf("a certificate of another authority: %v", err)
	}
}
