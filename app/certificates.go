package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
)

// certificates are those that this process uses, all renewed while it runs.
type certificates struct {
	ca     *pki.Authority
	logger *slog.Logger
	all    []*pki.Rotating
}

// issue returns the certificate of the cluster's own authority for a request. Keep, if not nil, writes each one where others read it.
func (c *certificates) issue(req pki.Request, keep func(pki.Pair) error) (*pki.Rotating, error) {
	r, err := pki.NewRotating(pki.RotatingConfig{
		Name:  req.Name,
		First: func() (pki.Pair, error) { return c.ca.Issue(req) },
		Renew: func(context.Context) (pki.Pair, error) { return c.ca.Renew(req) },
		Keep:  keep, Logger: c.logger.With("part", "certificates"),
	})
	if err == nil {
		c.all = append(c.all, r)
	}
	return r, err
}

// kubelet is the server's side of a node's kubelet: a certificate of its own, and the authority whose clients it believes.
func (c *certificates) kubelet(nodeName string, address net.IP) (*tls.Config, error) {
	r, err := c.issue(pki.Request{Name: "kubelet", CommonName: "system:node:" + nodeName, Organizations: []string{api.GroupNodes},
		DNSNames: []string{nodeName, "localhost"}, IPs: []net.IP{address, net.IPv4(127, 0, 0, 1)}, Server: true}, nil)
	if err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: r.GetCertificate, ClientCAs: c.ca.Pool()}, nil
}

// run renews them until ctx ends.
func (c *certificates) run(ctx context.Context) error {
	var parts []run.Func
	for _, r := range c.all {
		parts = append(parts, r.Run)
	}
	return run.Group(ctx, parts...)
}

var _ prometheus.Collector = (*certificates)(nil)

func (*certificates) descriptions() (ends, failures *prometheus.Desc) {
	label := []string{"certificate"}
	return prometheus.NewDesc("cuppa_certificate_expiration_timestamp_seconds", "When each certificate that this process uses ends, in seconds since 1970.", label, nil),
		prometheus.NewDesc("cuppa_certificate_renew_errors_total", "Counter of renewals of a certificate that did not succeed.", label, nil)
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(ch chan<- *prometheus.Desc) {
	ends, failures := c.descriptions()
	ch <- ends
	ch <- failures
}

// Collect implements prometheus.Collector.
func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	ends, failures := c.descriptions()
	for _, r := range c.all {
		ch <- prometheus.MustNewConstMetric(ends, prometheus.GaugeValue, float64(r.Ends().Unix()), r.Name())
		ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(r.Failures()), r.Name())
	}
}
