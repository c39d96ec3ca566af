package admission

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/authz"
)

// token lets a node ask for the tokens of its own pods, for those whom the pods themselves want to show them to.
func (p *nodeRestriction) token(ctx context.Context, node string, req *Request) error {
	request, ok := req.Body.(*authenticationv1.TokenRequest)
	if !ok || request.Spec.BoundObjectRef == nil || request.Spec.BoundObjectRef.Kind != "Pod" || request.Spec.BoundObjectRef.Name == "" {
		return refuse(req, "node requested token not bound to a pod")
	}
	ref := request.Spec.BoundObjectRef
	if ref.UID == "" {
		return refuse(req, "node requested token with a pod binding without a uid")
	}
	pod, _ := p.reader.Get(podResource, req.Namespace, ref.Name).(*corev1.Pod)
	switch {
	case pod == nil:
		return apierrors.NewNotFound(podResource.GroupResource(), ref.Name)
	case ref.UID != pod.UID:
		return refuse(req, "the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != node:
		return refuse(req, "node requested token bound to a pod scheduled on a different node")
	case pod.Spec.ServiceAccountName != req.Name:
		return refuse(req, "node requested token for an account that its pod does not run as")
	}
	return p.audience(ctx, req, pod, request.Spec.Audiences)
}

// audience refuses a token for somebody whom none of the pod's volumes names, unless an authorizer lets nodes have it.
func (p *nodeRestriction) audience(ctx context.Context, req *Request, pod *corev1.Pod, audiences []string) error {
	if len(audiences) > 1 {
		return refuse(req, "node may only request 0 or 1 audiences")
	}
	wanted := ""
	if len(audiences) == 1 {
		wanted = audiences[0]
	}
	for i := range pod.Spec.Volumes {
		if projected := pod.Spec.Volumes[i].Projected; projected != nil {
			for _, source := range projected.Sources {
				if source.ServiceAccountToken != nil && source.ServiceAccountToken.Audience == wanted {
					return nil
				}
			}
		}
	}
	if p.may(ctx, authz.Request{User: req.User, Verb: "request-serviceaccounts-token-audience", Version: "v1", Resource: wanted, Namespace: req.Namespace, Name: req.Name}) {
		return nil
	}
	return refuse(req, "%s is not authorized to request tokens for audience %q", req.User.Name, wanted)
}
