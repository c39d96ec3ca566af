package app

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
)

// certificates are those that the cluster's own authority gives to the parts of a server, all renewed while it runs; and the figures of all
// certificates that the process uses, whoever gave them.
type certificates struct {
	ca     *pki.Authority
	logger *slog.Logger
	all    []*pki.Rotating

	mu    sync.Mutex
	shown map[string]*pki.Rotating // by name
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
		c.show(r)
	}
	return r, err
}

// show puts a certificate among the figures, in the place of another of its name.
func (c *certificates) show(r *pki.Rotating) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown == nil {
		c.shown = map[string]*pki.Rotating{}
	}
	c.shown[r.Name()] = r
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
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.shown {
		ch <- prometheus.MustNewConstMetric(ends, prometheus.GaugeValue, float64(r.Ends().Unix()), r.Name())
		ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(r.Failures()), r.Name())
	}
}
