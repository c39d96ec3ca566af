package loop

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of all loops of a process, under the names that client-go's queues give them upstream. A nil Metrics counts nothing.
type Metrics struct {
	adds, retries *prometheus.CounterVec
	work          *prometheus.HistogramVec
	depth         *prometheus.Desc

	mu     sync.Mutex
	queues map[string]func() int
}

// NewMetrics returns figures at zero, registered with r.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		adds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "workqueue_adds_total", Help: "Total number of adds handled by workqueue"}, []string{"name"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "workqueue_retries_total", Help: "Total number of retries handled by workqueue"},
			[]string{"name"}),
		work: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "workqueue_work_duration_seconds",
			Help: "How long in seconds processing an item from workqueue takes.", Buckets: prometheus.ExponentialBuckets(1e-5, 10, 7)}, []string{"name"}),
		depth:  prometheus.NewDesc("workqueue_depth", "Current depth of workqueue", []string{"name"}, nil),
		queues: map[string]func() int{},
	}
	for _, c := range []prometheus.Collector{m.adds, m.retries, m.work, m} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Describe implements prometheus.Collector, for the depths.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.depth }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, length := range m.queues {
		ch <- prometheus.MustNewConstMetric(m.depth, prometheus.GaugeValue, float64(length()), name)
	}
}

// follow tells a queue's length until the function it returns is called.
func (m *Metrics) follow(name string, length func() int) (end func()) {
	if m == nil {
		return func() {}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queues[name] = length
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.queues, name)
	}
}

func (m *Metrics) added(name string) {
	if m != nil {
		m.adds.WithLabelValues(name).Inc()
	}
}

func (m *Metrics) worked(name string, took time.Duration, again bool) {
	if m == nil {
		return
	}
	m.work.WithLabelValues(name).Observe(took.Seconds())
	if again {
		m.retries.WithLabelValues(name).Inc()
	}
}
