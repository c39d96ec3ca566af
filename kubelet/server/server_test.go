package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/server"
)

// node is one pod that runs on a runtime in memory, and a server before it.
type node struct {
	runtime *kubelettest.Runtime
	pod     *corev1.Pod
	ended   chan struct{}
	url     *url.URL
	id      string
	sandbox string

	config, stranger *rest.Config // the API server, and somebody with another certificate of the same authority
	client           *http.Client
}

func (n *node) Pods() []*corev1.Pod { return []*corev1.Pod{n.pod} }

func (n *node) Pod(namespace, name string) *corev1.Pod {
	if namespace != n.pod.Namespace || name != n.pod.Name {
		return nil
	}
	return n.pod
}

func (n *node) Ended(context.Context, observe.Key, string) <-chan struct{} { return n.ended }

func newNode(t *testing.T, program kubelettest.Program) *node {
	t.Helper()
	n := &node{
		runtime: kubelettest.NewRuntime("app:1"), ended: make(chan struct{}),
		pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: types.UID("u1")},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
		},
	}
	n.runtime.Program("app", func(uint32) kubelettest.Program { return program })
	config := criconfig.Node{LogRoot: t.TempDir(), CgroupRoot: "t"}
	ctx := context.Background()
	sandboxConfig := criconfig.Sandbox(config, n.pod, 0)
	var err error
	if n.sandbox, err = n.runtime.RunPodSandbox(ctx, sandboxConfig, ""); err != nil {
		t.Fatal(err)
	}
	n.start(t, config, sandboxConfig, 0)
	ca := authority(t)
	serving := issue(t, ca, pki.Request{Name: "kubelet", CommonName: "system:node:node-1", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true})
	cert, err := serving.TLS()
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{
		TLS:  &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.Pool()},
		Pods: n, Runtime: n.runtime, Streamer: n.runtime, NodeName: "node-1", DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		Restarts: func(*corev1.Pod, string, int32) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.listen(t, s)
	n.config = n.as(t, ca, pki.Request{Name: "apiserver", CommonName: "apiserver", Organizations: []string{api.GroupMasters}})
	n.stranger = n.as(t, ca, pki.Request{Name: "stranger", CommonName: "ann", Organizations: []string{"people"}})
	n.client = clientOf(t, n.config)
	return n
}

// listen serves until the test ends.
func (n *node) listen(t *testing.T, s *server.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	n.url = &url.URL{Scheme: "https", Host: listener.Addr().String()}
}

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.Authority, req pki.Request) pki.Pair {
	t.Helper()
	pair, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// as is how somebody reaches the server who has a certificate of the authority.
func (n *node) as(t *testing.T, ca *pki.Authority, req pki.Request) *rest.Config {
	t.Helper()
	pair := issue(t, ca, req)
	return &rest.Config{Host: n.url.String(), TLSClientConfig: rest.TLSClientConfig{CAData: ca.PEM(), CertData: pair.Cert, KeyData: pair.Key, NextProtos: []string{"http/1.1"}}}
}

func clientOf(t *testing.T, config *rest.Config) *http.Client {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// TestWhoMayCome holds that nobody runs commands in containers but the API server, and that there is no server that could not tell.
func TestWhoMayCome(t *testing.T) {
	n := newNode(t, kubelettest.Program{})
	nobody := rest.AnonymousClientConfig(n.config)
	for _, c := range []struct {
		who  string
		how  *rest.Config
		path string
		want int
	}{
		{"nobody", nobody, "/healthz", 200}, {"nobody", nobody, "/pods", 401}, {"nobody", nobody, "/exec/default/web/app?command=x&output=1", 401},
		{"nobody", nobody, "/containerLogs/default/web/app", 401}, {"a stranger", n.stranger, "/exec/default/web/app?command=x&output=1", 403},
		{"a stranger", n.stranger, "/metrics", 403}, {"the API server", n.config, "/pods", 200},
	} {
		response, err := clientOf(t, c.how).Get(n.url.String() + c.path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("%s at %s: got %d, want %d", c.who, c.path, response.StatusCode, c.want)
		}
	}
	for name, config := range map[string]*tls.Config{"no TLS": nil, "no client CA": {}} {
		if _, err := server.New(server.Config{Pods: n, Runtime: n.runtime, TLS: config}); !errors.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "anybody could run commands") {
			t.Errorf("%s: got %v, want an error of the kind invalid", name, err)
		}
	}
}

func (n *node) start(t *testing.T, config criconfig.Node, sandbox *runtimeapi.PodSandboxConfig, attempt uint32) {
	t.Helper()
	c := criconfig.Container(config, n.pod, &n.pod.Spec.Containers[0], criconfig.ContainerInput{Attempt: attempt, Image: "sha256:app:1"})
	id, err := n.runtime.CreateContainer(context.Background(), n.sandbox, c, sandbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.runtime.StartContainer(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	n.id = id
}

func (n *node) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := n.client.Get(n.url.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestLogs(t *testing.T) {
	n := newNode(t, kubelettest.Program{Output: []string{"one", "two", "three"}})
	for _, c := range []struct {
		query, want string
		code        int
	}{
		{"/app", "one\ntwo\nthree\n", 200},
		{"/app?tailLines=2", "two\nthree\n", 200},
		{"/app?tailLines=0", "", 200},
		{"/app?limitBytes=5", "one\nt", 200},
		{"/app?sinceTime=2100-01-01T00:00:00Z", "", 200},
		{"/app?stream=Stderr", "", 200},
		{"/app?tailLines=x", `tailLines: "x" is not a number of at least 0` + "\n", 400},
		{"/app?previous=true", `previous terminated container "app" in pod "web" not found` + "\n", 400},
		{"/nope", `container "nope" not found in pod "web"` + "\n", 404},
	} {
		code, body := n.get(t, "/containerLogs/default/web"+c.query)
		if code != c.code || body != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.query, code, body, c.code, c.want)
		}
	}
	if _, body := n.get(t, "/containerLogs/default/web/app?timestamps=true&tailLines=1"); !strings.HasSuffix(body, "Z three\n") {
		t.Errorf("with timestamps: %q", body)
	}
	if code, body := n.get(t, "/containerLogs/default/other/app"); code != 404 || !strings.Contains(body, `"default/other" is not on node node-1`) {
		t.Errorf("unknown pod: %d %q", code, body)
	}
}

func TestFollowedLogsEndWithTheContainer(t *testing.T) {
	n := newNode(t, kubelettest.Program{Output: []string{"one"}})
	response, err := n.client.Get(n.url.String() + "/containerLogs/default/web/app?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	expect(t, response.Body, "one\n")
	n.runtime.Print("app", "two")
	expect(t, response.Body, "two\n")
	n.runtime.Print("app", "last")
	n.runtime.Kill("app", 0)
	close(n.ended)
	rest, err := io.ReadAll(response.Body)
	if err != nil || string(rest) != "last\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// executors are the two protocols that clients speak.
func (n *node) executors(t *testing.T, u *url.URL) map[string]remotecommand.Executor {
	t.Helper()
	config := n.config
	over, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"spdy": over, "websocket": socket}
}

func (n *node) at(format string, args ...any) *url.URL {
	u, _ := url.Parse(n.url.String() + fmt.Sprintf(format, args...))
	return u
}

func TestExec(t *testing.T) {
	n := newNode(t, kubelettest.Program{Exec: func(cmd []string) (string, int) {
		if cmd[0] == "fail" {
			return "", 7
		}
		return "ran " + strings.Join(cmd, " "), 0
	}})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for name, executor := range n.executors(t, n.at("/exec/default/web/app?command=cat&command=x&input=1&output=1&error=1")) {
		t.Run(name, func(t *testing.T) {
			big := strings.Repeat("0123456789", 50_000)
			var stdout, stderr bytes.Buffer
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(big), Stdout: &stdout, Stderr: &stderr})
			if err != nil || stdout.String() != "ran cat x\n"+big || stderr.Len() != 0 {
				t.Errorf("%d bytes on stdout, %q on stderr, %v", stdout.Len(), stderr.String(), err)
			}
		})
	}
	for name, executor := range n.executors(t, n.at("/exec/default/web/app?command=fail&output=1&error=1")) {
		t.Run(name+" exit code", func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
			exit, ok := err.(exec.CodeExitError)
			if !ok || exit.Code != 7 || stderr.String() != "failed with 7\n" {
				t.Errorf("error %v (%T), stderr %q", err, err, stderr.String())
			}
		})
	}
}

type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t, kubelettest.Program{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for name, executor := range n.executors(t, n.at("/attach/default/web/app?input=1&output=1&tty=1")) {
		t.Run(name, func(t *testing.T) {
			queue := make(sizes, 1)
			queue <- remotecommand.TerminalSize{Width: 80, Height: 24}
			defer close(queue)
			var stdout bytes.Buffer
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &stdout, Tty: true, TerminalSizeQueue: queue})
			if err != nil || stdout.String() != "size 80x24\ntyped" {
				t.Errorf("stdout %q, %v", stdout.String(), err)
			}
		})
	}
}

func TestExecRefusals(t *testing.T) {
	n := newNode(t, kubelettest.Program{})
	if code, body := n.get(t, "/exec/default/web/app?output=1"); code != 400 {
		t.Errorf("no command: %d %s", code, body)
	}
	n.runtime.Kill("app", 3)
	n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	if code, body := n.get(t, "/exec/default/web/app?output=1&command=x"); code != 404 || !strings.Contains(body, "CrashLoopBackOff") {
		t.Errorf("not running: %d %s", code, body)
	}
}

func TestPortForward(t *testing.T) {
	n := newNode(t, kubelettest.Program{})
	config := n.config
	target := n.at("/portForward/default/web")
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(target, config)
	if err != nil {
		t.Fatal(err)
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", target)
	local, ports := []string{"127.0.0.1"}, []string{"0:80"}
	type maker func(stop <-chan struct{}, ready chan struct{}, out io.Writer) (*portforward.PortForwarder, error)
	for name, newForwarder := range map[string]maker{
		"spdy": func(stop <-chan struct{}, ready chan struct{}, out io.Writer) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddresses(plain, local, ports, stop, ready, out, out)
		},
		"spdy over websocket": func(stop <-chan struct{}, ready chan struct{}, out io.Writer) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddresses(tunnel, local, ports, stop, ready, out, out)
		},
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			var said bytes.Buffer
			forwarder, err := newForwarder(stop, ready, &said)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- forwarder.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatalf("forward: %v", err)
			case <-time.After(10 * time.Second):
				t.Fatal("not ready after 10 s")
			}
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "hello"); err != nil {
				t.Fatal(err)
			}
			expect(t, conn, "hello")
			_ = conn.Close()
			close(stop)
			if err := <-done; err != nil {
				t.Errorf("forward ended with %v: %s", err, said.String())
			}
		})
	}
}

func TestPodsAndHealth(t *testing.T) {
	n := newNode(t, kubelettest.Program{})
	if code, body := n.get(t, "/healthz"); code != 200 || body != "ok" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, body := n.get(t, "/pods"); code != 200 || !strings.Contains(body, `"kind":"PodList"`) || !strings.Contains(body, `"name":"web"`) {
		t.Errorf("pods: %d %q", code, body)
	}
}
