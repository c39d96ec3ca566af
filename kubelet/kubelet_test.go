package kubelet_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits for something that happens by itself; the deadline is for a broken test only.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 10 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func tlsOf(t *testing.T, ca *pki.Authority, request pki.Request) tls.Certificate {
	t.Helper()
	pair, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestKubelet runs a whole agent: the node becomes ready, a pod runs, and its log can be read by those who may.
func TestKubelet(t *testing.T) {
	ca, err := pki.Open(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), freePort(t)
	cluster, runtime := kubelettest.NewCluster(), kubelettest.NewRuntime("app:1")
	runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{Output: []string{"hello"}} })
	serving := tlsOf(t, ca, pki.Request{Name: "kubelet", CommonName: "n1", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true})
	k, err := kubelet.New(kubelet.Config{
		NodeName: "n1", Cluster: cluster, Runtime: runtime, Images: runtime, Streamer: runtime, NodeIPs: []string{"127.0.0.1"},
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), ServerAddr: addr,
		ServerTLS: &tls.Config{Certificates: []tls.Certificate{serving}, ClientCAs: ca.Pool()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	eventually(t, "a ready node", func() bool {
		n, ok := kube.Get[*corev1.Node](cluster, kube.Nodes, "", "n1")
		return ok && len(n.Status.Conditions) == 4 && n.Status.Conditions[3].Status == corev1.ConditionTrue
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}}
	if _, err := cluster.Create(ctx, pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a running pod", func() bool {
		p, _ := kube.Get[*corev1.Pod](cluster, kube.Pods, "default", "web")
		return p.Status.Phase == corev1.PodRunning
	})
	admin := tlsOf(t, ca, pki.Request{Name: "admin", CommonName: "admin", Organizations: []string{api.GroupMasters}})
	other := tlsOf(t, ca, pki.Request{Name: "other", CommonName: "system:node:n2", Organizations: []string{api.GroupNodes}})
	for _, c := range []struct {
		name, path string
		certs      []tls.Certificate
		code       int
		body       string
	}{
		{"health is open", "/healthz", nil, 200, "ok"},
		{"logs for nobody", "/containerLogs/default/web/app", nil, 401, "Unauthorized\n"},
		{"logs for another node", "/containerLogs/default/web/app", []tls.Certificate{other}, 403, "Forbidden (user=system:node:n2)\n"},
		{"logs for an administrator", "/containerLogs/default/web/app", []tls.Certificate{admin}, 200, "hello\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: c.certs}}}
			defer client.CloseIdleConnections()
			response, err := client.Get(fmt.Sprintf("https://%s%s", addr, c.path))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != c.code || string(body) != c.body {
				t.Errorf("%d %q, want %d %q", response.StatusCode, body, c.code, c.body)
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	runtime := kubelettest.NewRuntime()
	full := kubelet.Config{NodeName: "n", Cluster: kubelettest.NewCluster(), Runtime: runtime, Images: runtime, DataDir: "d", RunDir: "r",
		NodeIPs: []string{"192.0.2.1"}, ServerAddr: "-"}
	if _, err := kubelet.New(full); err != nil {
		t.Errorf("a full configuration: %v", err)
	}
	for name, change := range map[string]func(c *kubelet.Config){
		"no name": func(c *kubelet.Config) { c.NodeName = "" }, "no cluster": func(c *kubelet.Config) { c.Cluster = nil },
		"no runtime": func(c *kubelet.Config) { c.Runtime = nil }, "no address": func(c *kubelet.Config) { c.NodeIPs = nil },
		"no directory": func(c *kubelet.Config) { c.RunDir = "" }, "a server without a certificate": func(c *kubelet.Config) { c.ServerAddr = "" },
	} {
		c := full
		change(&c)
		if _, err := kubelet.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
