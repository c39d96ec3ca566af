package app

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// serving is the certificate with which a node's kubelet serves: for the names and addresses that its Node object has, and another one when those
// have changed. It can be asked for only once the node has told of them.
type serving struct {
	credentials *credentials
	cluster     kube.Cluster
	certs       *certificates

	mu      sync.Mutex
	current *pki.Rotating // nil: none yet
	first   chan struct{} // closed when there is one
}

func newServing(c *credentials, cluster kube.Cluster, certs *certificates) *serving {
	return &serving{credentials: c, cluster: cluster, certs: certs, first: make(chan struct{})}
}

// GetCertificate is for tls.Config. A client that comes before there is a certificate waits for it.
func (s *serving) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	select {
	case <-s.first:
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.GetCertificate(hello)
}

// run gets the certificate and renews it until ctx ends.
func (s *serving) run(ctx context.Context) error {
	wanted := make(chan pki.Request, 1)
	last := ""
	err := kube.Watch(ctx, s.cluster, kube.Nodes, func(_, node *corev1.Node) {
		if node == nil || "system:node:"+node.Name != s.credentials.user {
			return
		}
		req := servingRequest(node)
		names := namesOf(req)
		if names == "" || names == last {
			return
		}
		last = names
		select { // only the newest counts
		case <-wanted:
		default:
		}
		wanted <- req
	})
	if err != nil {
		return ended(ctx, err)
	}
	var req pki.Request
	select {
	case req = <-wanted:
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		inner, stop := context.WithCancel(ctx)
		var next pki.Request
		err := run.Group(inner, func(inner context.Context) error {
			defer stop()
			select {
			case next = <-wanted:
			case <-inner.Done():
			}
			return nil
		}, func(inner context.Context) error { return s.hold(inner, req) })
		stop()
		if err != nil {
			return err
		}
		req = next
	}
	return nil
}

// hold gets a certificate for the request and renews it until ctx ends.
func (s *serving) hold(ctx context.Context, req pki.Request) error {
	c := s.credentials
	ask := func(ctx context.Context) (pki.Pair, error) {
		return c.ask(ctx, s.cluster, req, certificatesv1.KubeletServingSignerName)
	}
	var r *pki.Rotating
	err := c.persist(ctx, func() (err error) {
		r, err = pki.NewRotating(pki.RotatingConfig{
			Name: "kubelet", First: func() (pki.Pair, error) { return c.first(ctx, req, ask) }, Renew: ask,
			Keep: func(pair pki.Pair) error { return c.keep(servingFile, pair) }, Logger: c.logger,
		})
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			// The node does its work without: only logs, exec and the like of its pods cannot be had.
			c.logger.Error("this node gets no certificate to serve with", "err", err)
			<-ctx.Done()
		}
		return nil
	}
	s.use(r)
	return r.Run(ctx)
}

func (s *serving) use(r *pki.Rotating) {
	s.certs.show(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		close(s.first)
	}
	s.current = r
}

// servingRequest asks for the names and addresses that a Node has, in an order that stays.
func servingRequest(node *corev1.Node) pki.Request {
	req := pki.Request{Name: servingFile, CommonName: "system:node:" + node.Name, Organizations: []string{api.GroupNodes}, Server: true}
	for _, a := range node.Status.Addresses {
		switch ip := net.ParseIP(a.Address); {
		case ip != nil && !slices.ContainsFunc(req.IPs, ip.Equal):
			req.IPs = append(req.IPs, ip)
		case ip == nil && a.Address != "" && !slices.Contains(req.DNSNames, a.Address):
			req.DNSNames = append(req.DNSNames, a.Address)
		}
	}
	slices.Sort(req.DNSNames)
	slices.SortFunc(req.IPs, func(a, b net.IP) int { return strings.Compare(a.String(), b.String()) })
	return req
}

// namesOf are a request's names and addresses in one word; "": it has none.
func namesOf(req pki.Request) string {
	names := slices.Clone(req.DNSNames)
	for _, ip := range req.IPs {
		names = append(names, ip.String())
	}
	return strings.Join(names, " ")
}
