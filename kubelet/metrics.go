package kubelet

import (
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
)

// metrics are the agent's own figures, under upstream's names.
type metrics struct {
	registry *prometheus.Registry
	podStart prometheus.Histogram
	handler  http.Handler
	pods     func() []*corev1.Pod // nil until the pods are known
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.podStart = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "kubelet_pod_start_duration_seconds",
		Help:    "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
		Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600},
	})
	running := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_running_pods", Help: "Number of pods that have a running pod sandbox",
	}, func() float64 {
		return float64(m.count(func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }))
	})
	desired := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_desired_pods", Help: "The number of pods the kubelet is being instructed to run",
	}, func() float64 { return float64(m.count(func(*corev1.Pod) bool { return true })) })
	m.registry.MustRegister(m.podStart, running, desired)
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) count(is func(*corev1.Pod) bool) int {
	if m.pods == nil {
		return 0
	}
	n := 0
	for _, pod := range m.pods() {
		if is(pod) {
			n++
		}
	}
	return n
}

func (m *metrics) observe(_ string, took time.Duration) { m.podStart.Observe(took.Seconds()) }

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// serverPort is the port of an address, which the Node says.
func serverPort(addr string) int32 {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return api.KubeletPort
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return api.KubeletPort
	}
	return int32(port)
}
