package apiserver_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// nodeStub answers as a kubelet would: it tells what it was asked, and echoes on an upgraded connection.
func nodeStub(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("previous") != "" {
			http.Error(w, "previous terminated container not found", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s?%s\n", req.URL.Path, req.URL.RawQuery)
	})
	mux.HandleFunc("/exec/{ns}/{pod}/{container}", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", req.Header.Get("Upgrade"))
		w.Header().Set("X-Stream-Protocol-Version", "v4.channel.k8s.io")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(buffered, "%s?%s\n", req.URL.Path, req.URL.RawQuery)
		_ = buffered.Flush() // the test waits for it
		line, _ := buffered.ReadString('\n')
		fmt.Fprintf(buffered, "echo %s", line)
		_ = buffered.Flush() // the test reads what arrives
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	return server
}

// withNode starts a server whose pod "a" runs on a node that is the stub.
func withNode(t *testing.T, change ...func(*apiserver.Config)) *apiservertest.Server {
	t.Helper()
	kubelet := nodeStub(t)
	pool := x509.NewCertPool()
	pool.AddCert(kubelet.Certificate())
	s := apiservertest.New(t, apiservertest.Options{Change: func(c *apiserver.Config) {
		c.Kubelets = &tls.Config{RootCAs: pool}
		for _, f := range change {
			f(c)
		}
	}})
	c := client(t, s.Config)
	node, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(kubelet.Listener.Addr().String())
	number, _ := strconv.ParseInt(port, 10, 32)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	if _, err := c.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "unbound"} {
		if _, err := c.CoreV1().Pods("default").Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CoreV1().Pods("default").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLogs(t *testing.T) {
	s := withNode(t)
	pods := client(t, s.Config).CoreV1().Pods("default")
	three := int64(3)
	got, err := pods.GetLogs("a", &corev1.PodLogOptions{Follow: true, TailLines: &three, Timestamps: true}).DoRaw(ctx)
	if want := "/containerLogs/default/a/c?follow=true&tailLines=3&timestamps=true\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for name, c := range map[string]struct {
		pod     string
		options corev1.PodLogOptions
		want    string
	}{
		"another container": {"a", corev1.PodLogOptions{Container: "x"}, "container x is not valid for pod a"},
		"previous":          {"a", corev1.PodLogOptions{Previous: true}, "previous terminated container not found"},
		"no such pod":       {"b", corev1.PodLogOptions{}, `pods "b" not found`},
	} {
		_, err := pods.GetLogs(c.pod, &c.options).Stream(ctx)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if got, err := pods.GetLogs("unbound", &corev1.PodLogOptions{}).DoRaw(ctx); err != nil || len(got) != 0 {
		t.Errorf("a pod without a node: %q, %v, want nothing", got, err)
	}
}

// TestLogsOverWebSocket reads logs as a browser does, by each protocol and by none.
func TestLogsOverWebSocket(t *testing.T) {
	s := withNode(t)
	config, err := rest.TLSConfigFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	open := func(pod, query string, protocols ...string) (string, *http.Response, error) {
		dialer := websocket.Dialer{TLSClientConfig: config, Subprotocols: protocols}
		address := "wss" + strings.TrimPrefix(s.Config.Host, "https") + "/api/v1/namespaces/default/pods/" + pod + "/log?" + query
		conn, resp, err := dialer.Dial(address, nil)
		if err != nil {
			return "", resp, err
		}
		defer conn.Close()
		read := conn.Subprotocol() + "|"
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
					return "", resp, err
				}
				return read, resp, nil
			}
			if kind == websocket.TextMessage {
				if data, err = base64.StdEncoding.DecodeString(string(data)); err != nil {
					return "", resp, err
				}
			}
			read += string(data)
		}
	}
	const line = "/containerLogs/default/a/c?tailLines=3\n"
	for want, protocols := range map[string][]string{
		"|" + line:                     nil,
		"binary.k8s.io|" + line:        {"binary.k8s.io"},
		"base64.binary.k8s.io|" + line: {"other", "base64.binary.k8s.io"},
	} {
		if got, _, err := open("a", "tailLines=3", protocols...); err != nil || got != want {
			t.Errorf("protocols %v: got %q, %v, want %q", protocols, got, err, want)
		}
	}
	for name, c := range map[string]struct{ pod, query, protocol, want string }{
		"an unknown protocol":     {"a", "", "v4.channel.k8s.io", "offer binary.k8s.io or base64.binary.k8s.io"},
		"a refusal of the node's": {"a", "previous=true", "", "previous terminated container not found"},
		"no such pod":             {"b", "", "", `pods \"b\" not found`},
	} {
		var protocols []string
		if c.protocol != "" {
			protocols = []string{c.protocol}
		}
		_, resp, err := open(c.pod, c.query, protocols...)
		if err == nil || resp == nil {
			t.Errorf("%s: %v, want a refusal", name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		if !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %s, want %s", name, body, c.want)
		}
	}
}

func TestExecPassesThrough(t *testing.T) {
	s := withNode(t)
	pair, err := tls.X509KeyPair(s.Config.CertData, s.Config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Config.CAData)
	address := strings.TrimPrefix(s.Config.Host, "https://")
	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a test that hangs should say where
		query := url.Values{"command": {"echo", "hi there"}, "stdin": {"true"}, "stdout": {"true"}, "tty": {"true"}}
		req, _ := http.NewRequest(http.MethodGet, "https://"+address+"/api/v1/namespaces/default/pods/a/exec?"+query.Encode(), nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", protocol)
		if err := req.Write(conn); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, req)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != protocol {
			t.Fatalf("%s: %v, %+v", protocol, err, resp)
		}
		if line, _ := in.ReadString('\n'); line != "/exec/default/a/c?command=echo&command=hi+there&input=1&output=1&tty=1\n" {
			t.Errorf("%s: the node was asked for %q", protocol, line)
		}
		fmt.Fprint(conn, "tea\n")
		if line, err := in.ReadString('\n'); line != "echo tea\n" || (err != nil && err != io.EOF) {
			t.Errorf("%s: got %q, %v", protocol, line, err)
		}
	}
}

func TestStreamRefusals(t *testing.T) {
	s := withNode(t)
	c := client(t, s.Config).CoreV1().RESTClient()
	for path, want := range map[string]string{
		"/api/v1/namespaces/default/pods/unbound/exec?command=x&stdout=true": "pod unbound does not have a host assigned",
		"/api/v1/namespaces/default/pods/a/exec?stdout=true":                 "you must specify at least 1 command for the container",
		"/api/v1/namespaces/default/pods/a/exec?command=x":                   "you must specify at least one of stdin, stdout, stderr",
		"/api/v1/namespaces/default/pods/a/portforward?ports=99999":          `"99999" is not a port`,
	} {
		err := c.Post().RequestURI(path).Do(ctx).Error()
		if !apierrors.IsBadRequest(err) || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if got, err := c.Get().AbsPath("/api/v1/nodes/n/proxy/healthz").DoRaw(ctx); err != nil || string(got) != "ok" {
		t.Errorf("through the node: %q, %v", got, err)
	}
}
