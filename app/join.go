package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/remote"
)

// credentials are the certificates of a node. Each is asked of the cluster by a CertificateSigningRequest: the first with the token that the node
// joins with, all others with the one before. They are kept on disk, and used from there as long as they are good.
type credentials struct {
	door   door
	pool   *x509.CertPool
	dir    string
	user   string // "system:node:NAME"
	logger *slog.Logger
	wire   *wire
	client *pki.Rotating // nil before join
}

// The names of their files.
const (
	clientFile  = "client"
	servingFile = "serving"
)

func newCredentials(config Config, door door, pool *x509.CertPool, logger *slog.Logger) *credentials {
	return &credentials{door: door, pool: pool, dir: filepath.Join(config.DataDir, "pki", "node"), user: "system:node:" + config.NodeName, logger: logger}
}

// close ends the connections that were made with them.
func (c *credentials) close() {
	if c.wire != nil {
		c.wire.close()
	}
}

// rest reaches the API as the node.
func (c *credentials) rest() *rest.Config { return c.wire.rest(c.door.server, "") }

// request is what the node's client certificate is asked for with.
func (c *credentials) request() pki.Request {
	return pki.Request{Name: clientFile, CommonName: c.user, Organizations: []string{api.GroupNodes}}
}

// join returns once the node has a client certificate: the one on disk, or a new one. It asks until it gets one; the error is of the disk, or
// says that the cluster has denied it, or that ctx has ended.
func (c *credentials) join(ctx context.Context) error {
	return c.persist(ctx, func() (err error) {
		c.client, err = pki.NewRotating(pki.RotatingConfig{
			Name:  "node",
			First: func() (pki.Pair, error) { return c.first(ctx, c.request(), c.bootstrap) },
			Renew: c.renew, Used: c.close, // connections that were made with the one before are made anew
			Keep:   func(pair pki.Pair) error { return c.keep(clientFile, pair) },
			Logger: c.logger,
		})
		if err == nil && c.wire == nil {
			c.wire = newWire(c.pool, c.client.GetClientCertificate)
		}
		return err
	})
}

// How long a node waits before it asks again, at first and at most.
const (
	askAgain     = 100 * time.Millisecond
	askMost      = 30 * time.Second
	askSlowAfter = 10 * time.Second // from then on it is worth a word that nobody answers
)

// persist does something until it succeeds, or fails for good.
func (c *credentials) persist(ctx context.Context, do func() error) error {
	for wait := askAgain; ; wait = min(2*wait, askMost) {
		err := do()
		if err == nil || ctx.Err() != nil || errors.Is(err, errkind.Denied) || errors.Is(err, errkind.Internal) {
			return err
		}
		c.logger.Warn("cannot get a certificate for this node yet", "server", c.door.server, "again", wait.String(), "err", err)
		if !run.Pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// first is the certificate on disk, if it is good, or else a new one.
func (c *credentials) first(ctx context.Context, req pki.Request, ask func(context.Context) (pki.Pair, error)) (pki.Pair, error) {
	pair, err := pki.Load(c.dir, req.Name)
	if err == nil && good(pair, req, c.pool, time.Now()) {
		return pair, nil
	}
	return ask(ctx)
}

// good says whether a certificate is what the request asks for, of this cluster's authority, and valid now.
func good(pair pki.Pair, req pki.Request, pool *x509.CertPool, now time.Time) bool {
	t, err := pair.TLS()
	if err != nil {
		return false
	}
	purpose := x509.ExtKeyUsageClientAuth
	if req.Server {
		purpose = x509.ExtKeyUsageServerAuth
	}
	cert := t.Leaf
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{purpose}})
	return err == nil && cert.Subject.CommonName == req.CommonName && slices.Equal(cert.Subject.Organization, req.Organizations) &&
		slices.Equal(cert.DNSNames, req.DNSNames) && slices.EqualFunc(cert.IPAddresses, req.IPs, net.IP.Equal)
}

// keep writes a certificate to disk.
func (c *credentials) keep(name string, pair pki.Pair) error {
	if have, err := pki.Load(c.dir, name); err == nil && string(have.Cert) == string(pair.Cert) {
		return nil
	}
	if err := pki.Store(c.dir, name, pair); err != nil {
		return errkind.New(errkind.Internal, "%w", err)
	}
	return nil
}

// renew asks for a client certificate with the one that there is. If that is void, the node joins as if for the first time.
func (c *credentials) renew(ctx context.Context) (pki.Pair, error) {
	pair, err := c.as(ctx, c.rest(), c.request(), certificatesv1.KubeAPIServerClientKubeletSignerName)
	if err == nil || ctx.Err() != nil {
		return pair, err
	}
	pair, again := c.bootstrap(ctx)
	if again != nil {
		return pair, errors.Join(err, again)
	}
	return pair, nil
}

// bootstrap asks for a client certificate with the token.
func (c *credentials) bootstrap(ctx context.Context) (pki.Pair, error) {
	w := newWire(c.pool, nil)
	defer w.close()
	return c.as(ctx, w.rest(c.door.server, c.door.token), c.request(), certificatesv1.KubeAPIServerClientKubeletSignerName)
}

// as asks for a certificate as somebody.
func (c *credentials) as(ctx context.Context, config *rest.Config, req pki.Request, signer string) (pki.Pair, error) {
	cluster, err := remote.New(remote.Config{REST: config})
	if err != nil {
		return pki.Pair{}, err
	}
	return c.ask(ctx, cluster, req, signer)
}

// ask makes a request and waits for the answer.
func (c *credentials) ask(ctx context.Context, cluster kube.Cluster, req pki.Request, signer string) (pki.Pair, error) {
	key, raw, err := pki.NewRequest(req)
	if err != nil {
		return pki.Pair{}, err
	}
	purpose := certificatesv1.UsageClientAuth
	if req.Server {
		purpose = certificatesv1.UsageServerAuth
	}
	made, err := cluster.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: raw, SignerName: signer,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, purpose}},
	})
	if err != nil {
		return pki.Pair{}, fmt.Errorf("ask %s for a certificate: %w", signer, err)
	}
	cert, err := c.await(ctx, cluster, made.GetName(), signer)
	if err != nil {
		return pki.Pair{}, fmt.Errorf("certificate signing request %s of %s: %w", made.GetName(), signer, err)
	}
	pair := pki.Pair{Cert: cert, Key: key}
	if !good(pair, req, c.pool, time.Now()) {
		return pki.Pair{}, errkind.New(errkind.Precondition, "certificate signing request %s of %s: what was issued is not the certificate that was asked for, of the authority of %s; "+
			"all servers of a cluster must have the same pki/ca.crt and ca.key in their data directories, and their clocks must agree", made.GetName(), signer, c.door.server)
	}
	return pair, nil
}

// await follows a request until it is answered.
func (c *credentials) await(ctx context.Context, cluster kube.Cluster, name, signer string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, 1)
	err := cluster.One(ctx, kube.CertificateSigningRequests, "", name, func(obj kube.Object) {
		if a := answerOf(obj); a.cert != nil || a.err != nil {
			select {
			case answers <- a:
			default:
			}
		}
	})
	if err != nil {
		return nil, err
	}
	slow := time.NewTimer(askSlowAfter)
	defer slow.Stop()
	for {
		select {
		case a := <-answers:
			return a.cert, a.err
		case <-slow.C:
			c.logger.Info("waiting for a certificate: if nobody answers the request by itself, approve it with `kubectl certificate approve`", "request", name, "signer", signer)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer is what became of a request; both are nil while nothing has.
type answer struct {
	cert []byte
	err  error
}

func answerOf(obj kube.Object) answer {
	request, ok := obj.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return answer{err: errkind.New(errkind.NotFound, "it was removed before anybody answered it")}
	}
	for _, condition := range request.Status.Conditions {
		switch condition.Type {
		case certificatesv1.CertificateDenied:
			return answer{err: errkind.New(errkind.Denied, "it was denied: %s: %s", condition.Reason, condition.Message)}
		case certificatesv1.CertificateFailed:
			return answer{err: errkind.New(errkind.Denied, "it cannot be signed: %s: %s", condition.Reason, condition.Message)}
		}
	}
	if len(request.Status.Certificate) == 0 {
		return answer{}
	}
	return answer{cert: request.Status.Certificate}
}
