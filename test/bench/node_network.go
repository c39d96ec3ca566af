package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/miekg/dns"
)

const (
	refusedRuns  = 100
	serviceCount = 10_000
	serviceRuns  = 20
	dnsTime      = 4 * time.Second
	dnsSockets   = 4
	dnsInFlight  = 32
)

// ranges are the address ranges that the node has chosen.
type ranges struct{ Pods, Services netip.Prefix }

func (m *machine) ranges() (ranges, error) {
	var r ranges
	raw, err := os.ReadFile(filepath.Join(m.data(), "ranges.json"))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}

// resolver is where the node answers its pods' queries: the tenth address of the Services.
func (m *machine) resolver() (string, error) {
	r, err := m.ranges()
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(nth(r.Services, 10), 53).String(), nil
}

func nth(p netip.Prefix, n uint32) netip.Addr {
	at := p.Masked().Addr().As4()
	for i := 3; n > 0 && i >= 0; i-- {
		n += uint32(at[i])
		at[i], n = byte(n), n>>8
	}
	return netip.AddrFrom4(at)
}

// firstAnswer returns when the node's DNS has answered with the address of the API's Service.
func (m *machine) firstAnswer(ctx context.Context) error {
	resolver, err := m.resolver()
	if err != nil {
		return err
	}
	query := new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA)
	client := &dns.Client{Timeout: 200 * time.Millisecond}
	return m.inside(func() error {
		for deadline := time.Now().Add(nodeTimeout); ; {
			answer, _, err := client.Exchange(query, resolver)
			if err == nil && len(answer.Answer) > 0 {
				return nil
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("the node's DNS does not answer: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// refused connects to addresses of pods and Services that nobody holds.
func (w *worker) refused(ctx context.Context) error {
	r, err := w.machine.ranges()
	if err != nil {
		return err
	}
	var all []time.Duration
	err = w.inside(func() error {
		for i := range refusedRuns {
			in := []netip.Prefix{r.Pods, r.Services}[i%2]
			address := netip.AddrPortFrom(nth(in, 200+rand.Uint32N(50)), 80)
			began := time.Now()
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address.String())
			if err == nil {
				conn.Close()
				return fmt.Errorf("somebody answers at %s", address)
			}
			// A pod address without a pod has no route either; both are an answer at once.
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EHOSTUNREACH) {
				return err
			}
			all = append(all, time.Since(began))
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.put("refused", medianMax(all)...)
	return nil
}

// services makes 10,000 Services of one pod, then measures DNS and the way of one more Service to the data plane.
func (w *worker) services(ctx context.Context) error {
	ip, err := w.webPod(ctx)
	if err != nil {
		return err
	}
	// Their slices are made here, too: it is the data plane that is to be measured.
	_, err = hammer(ctx, loadWorkers, 2*serviceCount, loadTimeout, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("s%d", i/2)
		if i%2 == 1 {
			return w.post(ctx, i, "/apis/discovery.k8s.io/v1/namespaces/"+w.namespace+"/endpointslices", webSlice(name, ip), discoveryv1.SchemeGroupVersion, "EndpointSlice")
		}
		service := webService(name)
		service.Spec.Selector = nil
		return w.post(ctx, i, "/api/v1/namespaces/"+w.namespace+"/services", service, corev1.SchemeGroupVersion, "Service")
	})
	if err != nil {
		return fmt.Errorf("make %d Services: %w", serviceCount, err)
	}
	// One more works when everything before it has been dealt with.
	if _, err := w.serviceWorks(ctx, "last", loadTimeout); err != nil {
		return err
	}
	w.step("service", func() error {
		var all []time.Duration
		for i := range serviceRuns {
			took, err := w.serviceWorks(ctx, fmt.Sprintf("one-more-%d", i), nodeTimeout)
			if err != nil {
				return err
			}
			all = append(all, took)
		}
		w.put("service", medianMax(all)...)
		return nil
	})
	w.step("dns", func() error { return w.queries(ctx) })
	return nil
}

func (t *target) post(ctx context.Context, n int, path string, object runtime.Object, version schema.GroupVersion, kind string) error {
	body, err := encode(object, version, kind)
	if err != nil {
		return err
	}
	_, err = t.send(ctx, n, "POST", path, asProtobuf, body)
	return err
}

// webPod runs a web server and returns its address.
func (w *worker) webPod(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	web := sleeper("web")
	web.Labels = map[string]string{"app": "web"}
	web.Spec.Containers[0].Command = []string{"httpd", "-f", "-p", "8080", "-h", "/tmp"}
	seen, err := w.watchPods(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	defer seen.Stop()
	if _, err := w.CoreV1().Pods(w.namespace).Create(ctx, web, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	ip := ""
	err = eachPod(ctx, seen, func(_ watch.EventType, pod *corev1.Pod) bool {
		ip = pod.Status.PodIP
		return pod.Name == web.Name && pod.Status.Phase == corev1.PodRunning && ip != ""
	})
	return ip, err
}

// webSlice is what the endpoint controller would write.
func webSlice(service, ip string) *discoveryv1.EndpointSlice {
	ready, port, protocol, name := true, int32(8080), corev1.ProtocolTCP, ""
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "bench"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
}

func webService(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Port: 80, TargetPort: intOrString(8080)}}}}
}

// serviceWorks makes a Service and connects to it until that succeeds; before that it is refused at once, or not answered.
func (w *worker) serviceWorks(ctx context.Context, name string, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	began := time.Now()
	service, err := w.CoreV1().Services(w.namespace).Create(ctx, webService(name), metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	address := net.JoinHostPort(service.Spec.ClusterIP, "80")
	var took time.Duration
	err = w.inside(func() error {
		for {
			conn, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(ctx, "tcp", address)
			if err == nil {
				took = time.Since(began)
				return conn.Close()
			}
			if ctx.Err() != nil {
				return fmt.Errorf("service %s does not work after %s: %w", name, within, err)
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	return took, err
}
