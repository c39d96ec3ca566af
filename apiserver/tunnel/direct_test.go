package tunnel_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
	"github.com/cuppa-project/cuppa/apiserver/tunnel"
)

// objects are what the tunnel may look up.
type objects map[string]registry.Object

func (o objects) Live(_ context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error) {
	if found, ok := o[resource.Resource+"/"+namespace+"/"+name]; ok {
		return found, nil
	}
	return nil, apierrors.NewNotFound(resource.GroupResource(), name)
}

func slice(port string, number int32, ready bool, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}, TargetRef: &corev1.ObjectReference{Kind: "Pod"},
		})
	}
	return s
}

// network has one program on every address: it tells how it was called. Over TLS it speaks on port 443.
func network(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	plain, secret := httptest.NewServer(http.HandlerFunc(program)), httptest.NewTLSServer(http.HandlerFunc(program))
	t.Cleanup(plain.Close)
	t.Cleanup(secret.Close)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		server := plain
		if strings.HasSuffix(address, ":443") {
			server = secret
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
}

func program(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/page" {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<a href="/other">x</a>`)
		return
	}
	body, _ := io.ReadAll(req.Body)
	fmt.Fprintf(w, "%s %s %q auth=%q tls=%v", req.Method, req.URL.RequestURI(), body, req.Header.Get("Authorization"), req.TLS != nil)
}

// front is a server whose every request goes through the tunnel.
func front(t *testing.T) *httptest.Server {
	t.Helper()
	pod := func(ip string, ports ...int32) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{PodIP: ip}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
		for _, n := range ports {
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: n})
		}
		return p
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 81}}}}
	tun := tunnel.New(tunnel.Config{
		TLS: &tls.Config{}, Dial: network(t),
		Endpoints: func(_ context.Context, _, service string) ([]*discoveryv1.EndpointSlice, error) {
			return []*discoveryv1.EndpointSlice{slice("web", 8080, false, "10.0.0.8"), slice("web", 8080, true, "10.0.0.9"), slice("web", 8080, true, "127.0.0.1")}, nil
		},
	}, objects{
		"pods/default/p": pod("10.0.0.7", 8080, 9090), "pods/default/own": pod("127.0.0.1", 80), "pods/default/early": pod(""),
		"services/default/s": service,
	})
	t.Cleanup(tun.CloseIdle)
	table := kinds.All()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		parts := strings.SplitN(strings.Trim(req.URL.Path, "/"), "/", 4) // resource/name/proxy/path
		kind := table.ByResource(corev1.SchemeGroupVersion.WithResource(parts[0]))
		path := ""
		if len(parts) > 3 {
			path = parts[3]
		}
		tun.Serve(w, req, &rest.Call{Kind: kind, Sub: kind.Subresource("proxy"), Namespace: "default", Name: parts[1], Path: path})
	}))
	t.Cleanup(server.Close)
	return server
}

// TestProxyToPods: what reaches the program in the pod, and what comes back.
func TestProxyToPods(t *testing.T) {
	server := front(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		name, method, path string
		code               int
		want               string // a part of the answer
	}{
		{"the first port", "GET", "/pods/p/proxy/a/b?c=d", 200, `GET /a/b?c=d "" auth="" tls=false`},
		{"a body", "POST", "/pods/p:9090/proxy/", 200, `POST / "hello" auth="" tls=false`},
		{"another method", "DELETE", "/pods/p/proxy/x", 200, "DELETE /x"},
		{"over TLS", "GET", "/pods/https:p:443/proxy/", 200, "tls=true"},
		{"links lead back", "GET", "/pods/p/proxy/page", 200, `href="/pods/p/proxy/other"`},
		{"without a slash", "GET", "/pods/p/proxy", 301, ""},
		{"no such pod", "GET", "/pods/q/proxy/", 404, `pods \"q\" not found`},
		{"too many colons", "GET", "/pods/a:b:c:d/proxy/", 400, "invalid pod request"},
		{"the server itself", "GET", "/pods/own/proxy/", 400, "address not allowed"},
		{"not up yet", "GET", "/pods/early/proxy/", 400, "address not allowed"},
		{"a Service by name", "GET", "/services/s:web/proxy/x", 200, "GET /x"},
		{"a Service by number", "GET", "/services/s:81/proxy/x", 200, "GET /x"},
		{"a Service by nothing", "GET", "/services/s/proxy/x", 200, "GET /x"},
		{"a number it lacks", "GET", "/services/s:82/proxy/", 503, `no service port 82 found for service \"s\"`},
		{"a name it lacks", "GET", "/services/s:db/proxy/", 503, `no endpoints available for service \"s\"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.method == "POST" {
				req.Body = io.NopCloser(strings.NewReader("hello"))
			}
			req.Header.Set("Authorization", "Bearer secret")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.code || !strings.Contains(string(body), c.want) {
				t.Errorf("%d %s %v, want %d with %s", resp.StatusCode, body, err, c.code, c.want)
			}
			if want := c.path + "/"; c.code == 301 && resp.Header.Get("Location") != want {
				t.Errorf("redirected to %q, want %q", resp.Header.Get("Location"), want)
			}
		})
	}
}

// TestProxyAsksOnlyReadyPods: of a Service's pods, those that are not ready and addresses that are no pod's are never called.
func TestProxyAsksOnlyReadyPods(t *testing.T) {
	var called []string
	dial := network(t)
	tun := tunnel.New(tunnel.Config{
		TLS: &tls.Config{},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			called = append(called, address)
			return dial(ctx, network, address)
		},
		Endpoints: func(context.Context, string, string) ([]*discoveryv1.EndpointSlice, error) {
			return []*discoveryv1.EndpointSlice{slice("", 80, false, "10.0.0.8"), slice("", 80, true, "10.0.0.9", "169.254.1.1", "::1")}, nil
		},
	}, objects{"services/default/s": &corev1.Service{}})
	defer tun.CloseIdle()
	kind := kinds.All().ByResource(corev1.SchemeGroupVersion.WithResource("services"))
	for range 20 {
		w := httptest.NewRecorder()
		tun.Serve(w, httptest.NewRequestWithContext(t.Context(), "GET", "/x/", nil), &rest.Call{Kind: kind, Sub: kind.Subresource("proxy"), Namespace: "default", Name: "s"})
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		tun.CloseIdle() // so that the next one dials
	}
	for _, address := range called {
		if address != "10.0.0.9:80" {
			t.Errorf("called %s", address)
		}
	}
}
