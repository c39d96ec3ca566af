// Package metrics holds the API server's figures, under the names that dashboards for Kubernetes know.
//
// It counts; it decides nothing. Start with New.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the figures of one server.
type Metrics struct {
	Registry *prometheus.Registry
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	long     *prometheus.GaugeVec
	rejected *prometheus.CounterVec
}

// Labels say what a request was for. Every word in them is one of a set that no client can make larger: see Verb and Path.
type Labels struct {
	Verb, Group, Version, Resource, Subresource, Scope string
	DryRun                                             bool
}

// New returns figures at zero, in a registry of their own.
func New() *Metrics {
	request := []string{"verb", "group", "version", "resource", "subresource", "scope"}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_duration_seconds",
			Help:    "Response latency distribution in seconds for each verb, group, version, resource, subresource and scope.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, request),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests",
			Help: "Number of requests being served now, of the kinds that are bounded.",
		}, []string{"request_kind"}),
		long: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests",
			Help: "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource and scope.",
		}, request),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_flowcontrol_rejected_requests_total",
			Help: "Number of requests that were refused because too many were being served.",
		}, []string{"reason"}),
	}
	m.Registry.MustRegister(m.total, m.duration, m.inflight, m.long, m.rejected,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Done counts a request that has been answered.
func (m *Metrics) Done(l Labels, code int, took time.Duration) {
	dryRun := ""
	if l.DryRun {
		dryRun = "All"
	}
	m.total.WithLabelValues(l.Verb, dryRun, l.Group, l.Version, l.Resource, l.Subresource, l.Scope, "apiserver", strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(l.Verb, l.Group, l.Version, l.Resource, l.Subresource, l.Scope).Observe(took.Seconds())
}

// Long counts a watch or stream until the function it returns is called.
func (m *Metrics) Long(l Labels) (end func()) {
	gauge := m.long.WithLabelValues(l.Verb, l.Group, l.Version, l.Resource, l.Subresource, l.Scope)
	gauge.Inc()
	return gauge.Dec
}

// Inflight is the gauge of requests of a kind: "mutating" or "readOnly".
func (m *Metrics) Inflight(kind string) prometheus.Gauge { return m.inflight.WithLabelValues(kind) }

// Rejected counts a request that was refused for want of room.
func (m *Metrics) Rejected() { m.rejected.WithLabelValues("concurrency-limit").Inc() }

// Handler serves the figures.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}

// CountObjects shows how many objects of each resource are stored, asked for at the time of reading.
func (m *Metrics) CountObjects(count func() map[string]int) {
	m.Registry.MustRegister(&objects{count: count, desc: prometheus.NewDesc(
		"apiserver_storage_objects", "Number of stored objects at the time of last check split by kind.", []string{"resource"}, nil)})
}

type objects struct {
	count func() map[string]int
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (o *objects) Describe(ch chan<- *prometheus.Desc) { ch <- o.desc }

// Collect implements prometheus.Collector.
func (o *objects) Collect(ch chan<- prometheus.Metric) {
	for resource, n := range o.count() {
		ch <- prometheus.MustNewConstMetric(o.desc, prometheus.GaugeValue, float64(n), resource)
	}
}
