package core

import (
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The functions here put what the query of a stream says into the object that admission sees. What the stream itself makes of the query, and
// refuses in it, is not decided here: a value that makes no sense is left out.

func execOptions(query url.Values, _ string) runtime.Object {
	out := &corev1.PodExecOptions{
		Stdin: on(query, "stdin"), Stdout: on(query, "stdout"), Stderr: on(query, "stderr"), TTY: on(query, "tty"),
		Container: query.Get("container"), Command: query["command"],
	}
	out.SetGroupVersionKind(coreKind("PodExecOptions"))
	return out
}

func attachOptions(query url.Values, _ string) runtime.Object {
	out := &corev1.PodAttachOptions{
		Stdin: on(query, "stdin"), Stdout: on(query, "stdout"), Stderr: on(query, "stderr"), TTY: on(query, "tty"),
		Container: query.Get("container"),
	}
	out.SetGroupVersionKind(coreKind("PodAttachOptions"))
	return out
}

func forwardOptions(query url.Values, _ string) runtime.Object {
	out := &corev1.PodPortForwardOptions{}
	for _, text := range query["ports"] {
		if port, err := strconv.ParseInt(text, 10, 32); err == nil {
			out.Ports = append(out.Ports, int32(port))
		}
	}
	out.SetGroupVersionKind(coreKind("PodPortForwardOptions"))
	return out
}

func nodeProxyOptions(_ url.Values, path string) runtime.Object {
	out := &corev1.NodeProxyOptions{Path: path}
	out.SetGroupVersionKind(coreKind("NodeProxyOptions"))
	return out
}

func podProxyOptions(_ url.Values, path string) runtime.Object {
	out := &corev1.PodProxyOptions{Path: path}
	out.SetGroupVersionKind(coreKind("PodProxyOptions"))
	return out
}

func serviceProxyOptions(_ url.Values, path string) runtime.Object {
	out := &corev1.ServiceProxyOptions{Path: path}
	out.SetGroupVersionKind(coreKind("ServiceProxyOptions"))
	return out
}

func on(query url.Values, name string) bool {
	value, err := strconv.ParseBool(query.Get(name))
	return err == nil && value
}
