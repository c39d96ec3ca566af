package tunnel

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// locator finds the address for a stream. Nil without an error: there is nothing to stream yet.
type locator func(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error)

// stream is where one goes.
type stream struct {
	locate locator
	direct bool // what answers there is a program of the user's own rather than a kubelet
	text   bool // it is only read, so that the kubelet is asked plainly whatever the client speaks
}

// streams is the table of what rows name as a subresource's Stream.
func streams() map[registry.Stream]stream {
	return map[registry.Stream]stream{
		registry.Log: {locate: logs, text: true},
		registry.Exec: {locate: func(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
			return terminal(t, req, c, "exec")
		}},
		registry.Attach: {locate: func(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
			return terminal(t, req, c, "attach")
		}},
		registry.PortForward:  {locate: forward},
		registry.PodProxy:     {locate: podProxy, direct: true},
		registry.ServiceProxy: {locate: serviceProxy, direct: true},
		registry.NodeProxy:    {locate: nodeProxy},
	}
}

func (t *Tunnel) pod(req *http.Request, c *rest.Call) (*corev1.Pod, error) {
	found, err := t.lookup.Live(req.Context(), c.Kind.GVR(), c.Namespace, c.Name)
	if err != nil {
		return nil, err
	}
	return found.(*corev1.Pod), nil
}

// at is the kubelet's address of something of the pod.
func (t *Tunnel) at(req *http.Request, pod *corev1.Pod, path ...string) (*url.URL, error) {
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	where, err := t.node(req.Context(), pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	where.Path = "/" + strings.Join(path, "/")
	return where, nil
}

func logs(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
	pod, err := t.pod(req, c)
	if err != nil {
		return nil, err
	}
	query := req.URL.Query()
	if faults := logFaults(query); len(faults) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod.Name, faults)
	}
	container, err := chooseContainer(pod, query.Get("container"))
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	where, err := t.at(req, pod, "containerLogs", pod.Namespace, pod.Name, container)
	if err != nil {
		return nil, err
	}
	where.RawQuery = only(query, "follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream").Encode()
	return where, nil
}

// only keeps the named parameters.
func only(query url.Values, names ...string) url.Values {
	out := url.Values{}
	for _, name := range names {
		if values, ok := query[name]; ok {
			out[name] = values
		}
	}
	return out
}

func logFaults(query url.Values) field.ErrorList {
	var faults field.ErrorList
	for name, least := range map[string]int64{"sinceSeconds": 1, "tailLines": 0, "limitBytes": 1} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		value, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			faults = append(faults, field.Invalid(field.NewPath(name), text, "must be an integer"))
		case value < least:
			faults = append(faults, field.Invalid(field.NewPath(name), value, fmt.Sprintf("must be greater than or equal to %d", least)))
		}
	}
	if query.Get("sinceSeconds") != "" && query.Get("sinceTime") != "" {
		faults = append(faults, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	}
	return faults
}

// defaultContainer names the container that is meant when none is named.
const defaultContainer = "kubectl.kubernetes.io/default-container"

func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	var plain, inits, ephemeral []string
	for _, container := range pod.Spec.Containers {
		plain = append(plain, container.Name)
	}
	for _, container := range pod.Spec.InitContainers {
		inits = append(inits, container.Name)
	}
	for _, container := range pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, container.Name)
	}
	if name == "" {
		if len(plain) == 1 {
			return plain[0], nil
		}
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, plain)
		if len(inits) > 0 {
			text += fmt.Sprintf(" or one of the init containers: %s", inits)
		}
		if len(ephemeral) > 0 {
			text += fmt.Sprintf(" or one of the ephemeral containers: %s", ephemeral)
		}
		return "", apierrors.NewBadRequest(text)
	}
	for _, list := range [][]string{plain, inits, ephemeral} {
		for _, known := range list {
			if known == name {
				return name, nil
			}
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// terminal is exec and attach: the kubelet's names for the streams differ from the API's.
func terminal(t *Tunnel, req *http.Request, c *rest.Call, verb string) (*url.URL, error) {
	pod, err := t.pod(req, c)
	if err != nil {
		return nil, err
	}
	query := req.URL.Query()
	name := query.Get("container")
	if name == "" {
		name = pod.Annotations[defaultContainer]
	}
	container, err := chooseContainer(pod, name)
	if err != nil {
		return nil, err
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot %s in a container of a completed pod; current phase is %s", verb, pod.Status.Phase))
	}
	out := url.Values{}
	for ours, theirs := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if on, err := strconv.ParseBool(query.Get(ours)); err == nil && on {
			out.Set(theirs, "1")
		}
	}
	if verb == "exec" {
		if len(query["command"]) == 0 {
			return nil, apierrors.NewBadRequest("you must specify at least 1 command for the container")
		}
		out["command"] = query["command"]
	}
	if !out.Has("input") && !out.Has("output") && !out.Has("error") {
		return nil, apierrors.NewBadRequest("you must specify at least one of stdin, stdout, stderr")
	}
	where, err := t.at(req, pod, verb, pod.Namespace, pod.Name, container)
	if err != nil {
		return nil, err
	}
	where.RawQuery = out.Encode()
	return where, nil
}

func forward(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
	pod, err := t.pod(req, c)
	if err != nil {
		return nil, err
	}
	ports := url.Values{}
	for _, value := range req.URL.Query()["ports"] {
		for port := range strings.SplitSeq(value, ",") {
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil || number == 0 {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("%q is not a port", port))
			}
			ports.Add("port", port)
		}
	}
	where, err := t.at(req, pod, "portForward", pod.Namespace, pod.Name)
	if err != nil {
		return nil, err
	}
	where.RawQuery = ports.Encode()
	return where, nil
}

// nodeProxy reaches anything the kubelet serves.
func nodeProxy(t *Tunnel, req *http.Request, c *rest.Call) (*url.URL, error) {
	where, err := t.node(req.Context(), c.Name)
	if err != nil {
		return nil, err
	}
	where.Path = "/" + c.Path
	where.RawQuery = req.URL.RawQuery
	return where, nil
}
