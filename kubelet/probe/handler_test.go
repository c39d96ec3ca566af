package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/kubelet/probe"
)

func target(port int) probe.Target {
	return probe.Target{IP: "127.0.0.1", Spec: &corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(text)
	return port
}

func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return portOf(t, l.Addr().String())
}

func TestHTTP(t *testing.T) {
	var seen http.Header
	var host string
	answer := func(w http.ResponseWriter, r *http.Request) {
		seen, host = r.Header, r.Host
		switch r.URL.Path {
		case "/ok":
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/query":
			if r.URL.Query().Get("a") != "1" {
				w.WriteHeader(http.StatusBadRequest)
			}
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	plain, secure := httptest.NewServer(http.HandlerFunc(answer)), httptest.NewTLSServer(http.HandlerFunc(answer))
	defer plain.Close()
	defer secure.Close()
	address, _ := url.Parse(plain.URL)
	port := portOf(t, address.Host)
	secureAddress, _ := url.Parse(secure.URL)
	for _, c := range []struct {
		name   string
		action corev1.HTTPGetAction
		fails  string
	}{
		{"ok", corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt(port)}, ""},
		{"port by name", corev1.HTTPGetAction{Path: "ok", Port: intstr.FromString("web")}, ""},
		{"query", corev1.HTTPGetAction{Path: "/query?a=1", Port: intstr.FromInt(port)}, ""},
		{"redirect here", corev1.HTTPGetAction{Path: "/moved", Port: intstr.FromInt(port)}, ""},
		{"redirect elsewhere is an answer", corev1.HTTPGetAction{Path: "/away", Port: intstr.FromInt(port)}, ""},
		{"TLS", corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt(portOf(t, secureAddress.Host)), Scheme: corev1.URISchemeHTTPS}, ""},
		{"ill", corev1.HTTPGetAction{Path: "/ill", Port: intstr.FromInt(port)}, "HTTP probe failed with statuscode: 503"},
		{"nobody there", corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(closedPort(t))}, "connection refused"},
		{"unknown port name", corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("none")}, "couldn't find port: none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := probe.Handler{}.Do(t.Context(), target(port), &corev1.Probe{TimeoutSeconds: 5, ProbeHandler: corev1.ProbeHandler{HTTPGet: &c.action}})
			check(t, err, c.fails)
		})
	}
	headers := corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt(port), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "example.org"}, {Name: "X-A", Value: "1"}}}
	if _, err := (probe.Handler{}).HTTP(t.Context(), target(port), &headers, probe.UserAgent); err != nil {
		t.Fatal(err)
	}
	if host != "example.org" || seen.Get("X-A") != "1" || seen.Get("User-Agent") != probe.UserAgent {
		t.Errorf("host %q, headers %v", host, seen)
	}
}

func check(t *testing.T, err error, fails string) {
	t.Helper()
	if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(err.Error(), fails)) {
		t.Errorf("error %v, want %q", err, fails)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for port, fails := range map[int]string{portOf(t, l.Addr().String()): "", closedPort(t): "connection refused"} {
		p := &corev1.Probe{TimeoutSeconds: 5, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}}
		_, err := probe.Handler{}.Do(t.Context(), target(port), p)
		check(t, err, fails)
	}
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, status := grpc.NewServer(), health.NewServer()
	status.SetServingStatus("ill", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, status)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	port := portOf(t, l.Addr().String())
	for service, fails := range map[string]string{"": "", "ill": `service unhealthy (responded with "NOT_SERVING")`, "unknown": "unknown service"} {
		p := &corev1.Probe{TimeoutSeconds: 5, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port), Service: &service}}}
		_, err := probe.Handler{}.Do(t.Context(), target(port), p)
		check(t, err, fails)
	}
}

func TestTimeout(t *testing.T) {
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer stuck.Close()
	address, _ := url.Parse(stuck.URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := probe.Handler{}.HTTP(ctx, target(portOf(t, address.Host)), &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(portOf(t, address.Host))}, "x")
	check(t, err, "context canceled")
}
