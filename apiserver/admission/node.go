package admission

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// nodeRestriction keeps a node to its own objects: its pods, their tokens, its Node.
type nodeRestriction struct{ reader Reader }

var podResource = corev1.SchemeGroupVersion.WithResource("pods")

func (p *nodeRestriction) validate(_ context.Context, req *Request) error {
	node, ok := strings.CutPrefix(req.User.Name, "system:node:")
	if !ok || !req.User.In("system:nodes") {
		return nil
	}
	switch {
	case req.is("", "pods"):
		return p.pod(node, req)
	case req.is("", "serviceaccounts") && req.Subresource == "token":
		return p.token(node, req)
	case req.is("", "nodes") && req.Operation == Create && req.Object.GetName() != node:
		return refuse(req, "node %q is not allowed to create node %q", node, req.Object.GetName())
	}
	return nil
}

func (p *nodeRestriction) pod(node string, req *Request) error {
	pod, _ := req.Old.(*corev1.Pod)
	if req.Operation == Create && req.Subresource == "" {
		pod = req.Object.(*corev1.Pod)
		if !isMirror(pod) {
			return refuse(req, "pod does not have %q annotation, node %q can only create mirror pods", mirrorAnnotation, node)
		}
	}
	if pod == nil {
		pod, _ = p.reader.Get(podResource, req.Namespace, req.Name).(*corev1.Pod)
	}
	if pod != nil && pod.Spec.NodeName != node {
		return refuse(req, "node %q can only change pods with spec.nodeName set to itself", node)
	}
	return nil
}

func (p *nodeRestriction) token(node string, req *Request) error {
	request, ok := req.Body.(*authenticationv1.TokenRequest)
	if !ok || request.Spec.BoundObjectRef == nil || request.Spec.BoundObjectRef.Kind != "Pod" {
		return refuse(req, "node requested token not bound to a pod")
	}
	ref := request.Spec.BoundObjectRef
	pod, _ := p.reader.Get(podResource, req.Namespace, ref.Name).(*corev1.Pod)
	switch {
	case pod == nil:
		return apierrors.NewNotFound(podResource.GroupResource(), ref.Name)
	case ref.UID == "" || ref.UID != pod.UID:
		return refuse(req, "node requested token bound to a pod without its uid")
	case pod.Spec.NodeName != node:
		return refuse(req, "node requested token bound to a pod scheduled on a different node")
	case pod.Spec.ServiceAccountName != req.Name:
		return refuse(req, "node requested token for an account that its pod does not run as")
	}
	return nil
}

func refuse(req *Request, format string, args ...any) error {
	return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf(format, args...))
}
