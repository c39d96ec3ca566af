package tunnel

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"

	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// podProxy reaches a port of a pod. The name in the path is "pod", "pod:port" or "scheme:pod:port"; without a port, it is the first that
// a container declares.
func podProxy(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(c.Name)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", c.Name))
	}
	found, err := t.lookup.Live(req.Context(), c.Kind.GVR(), c.Namespace, name)
	if err != nil {
		return nil, err
	}
	pod := found.(*corev1.Pod)
	if port == "" {
		port = firstPort(pod)
	}
	if err := mayReach(pod.Status.PodIP); err != nil {
		return nil, err
	}
	return target(scheme, pod.Status.PodIP, port, req, c), nil
}

func firstPort(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		if len(container.Ports) > 0 {
			return strconv.Itoa(int(container.Ports[0].ContainerPort))
		}
	}
	return ""
}

// mayReach refuses addresses that are no pod's: whoever writes a pod's status must not turn the server on itself.
func mayReach(address string) error {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.IsGlobalUnicast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}

// target is the address of a program, with the path and the query that are meant for it.
func target(scheme, address, port string, req *http.Request, c *rest.Call) *url.URL {
	where := &url.URL{Scheme: scheme, Host: address, RawQuery: req.URL.RawQuery}
	if where.Scheme == "" {
		where.Scheme = "http"
	}
	if port != "" {
		where.Host = net.JoinHostPort(address, port)
	} else if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		where.Host = "[" + address + "]"
	}
	if c.Path != "" {
		where.Path = "/" + c.Path
	}
	return where
}

// serviceProxy reaches one of the pods behind a port of a Service, chosen at random. The port is a name or a number.
func serviceProxy(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(c.Name)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", c.Name))
	}
	found, err := t.lookup.Live(req.Context(), c.Kind.GVR(), c.Namespace, name)
	if err != nil {
		return nil, err
	}
	if port, err = portName(found.(*corev1.Service), port); err != nil {
		return nil, err
	}
	var slices []*discoveryv1.EndpointSlice
	if t.config.Endpoints != nil {
		if slices, err = t.config.Endpoints(req.Context(), c.Namespace, name); err != nil {
			return nil, err
		}
	}
	all := backends(slices, port)
	if len(all) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	one := all[rand.IntN(len(all))]
	return target(scheme, one.address, one.port, req, c), nil
}

// portName is the name of the port that a request means: EndpointSlices know ports by name alone.
func portName(service *corev1.Service, asked string) (string, error) {
	number, err := strconv.ParseInt(asked, 10, 32)
	if err != nil {
		return asked, nil
	}
	for _, p := range service.Spec.Ports {
		if int64(p.Port) == number {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, service.Name))
}

type backend struct{ address, port string }

// backends are the ready pods of a Service's port; without a name, of its first one. Addresses that are no pod's are left out.
func backends(slices []*discoveryv1.EndpointSlice, name string) []backend {
	var out []backend
	for _, slice := range slices {
		port := ""
		for _, p := range slice.Ports {
			if p.Port != nil && (name == "" && port == "" || p.Name != nil && *p.Name == name && name != "") {
				port = strconv.Itoa(int(*p.Port))
			}
		}
		if port == "" {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if !ready || endpoint.TargetRef == nil || endpoint.TargetRef.Kind != "Pod" || len(endpoint.Addresses) == 0 || mayReach(endpoint.Addresses[0]) != nil {
				continue
			}
			out = append(out, backend{endpoint.Addresses[0], port})
		}
	}
	return out
}

// serveDirect passes a request on to a program in a pod, and its answer back; links in pages lead through the proxy again. The caller's
// credentials stay here.
func (t *Tunnel) serveDirect(w http.ResponseWriter, req *http.Request, where *url.URL) {
	req.Header.Del("Authorization")
	handler := proxy.NewUpgradeAwareHandler(where, t.direct, true, false, responder{req})
	handler.UseLocationHost = false
	handler.ServeHTTP(w, req)
}

// responder writes what went wrong on the way to the pod.
type responder struct{ req *http.Request }

func (r responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	if r.req.Context().Err() != nil {
		return // the client went away or the server stops
	}
	rest.WriteError(w, r.req, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
}
