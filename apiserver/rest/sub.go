package rest

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// action does what posting to a subresource means. The answer's kind is set.
type action func(s *Service, ctx context.Context, c *Call, body runtime.Object) (runtime.Object, error)

// actions is the table of what rows name as a subresource's Action.
func actions() map[registry.Action]action {
	return map[registry.Action]action{
		registry.Evict:      (*Service).evict,
		registry.IssueToken: (*Service).token,
	}
}

// Post creates through a subresource and returns the server's answer.
func (s *Service) Post(ctx context.Context, c *Call, body runtime.Object) (runtime.Object, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	do := s.actions[c.Sub.Action]
	if do == nil && c.Sub.Into == nil {
		return nil, apierrors.NewMethodNotSupported(s.row(c).gr, "create")
	}
	if err := s.admitBody(ctx, c, admission.Create, body); err != nil {
		return nil, err
	}
	if do != nil {
		return do(s, ctx, c, body)
	}
	call := *c
	c, call.admitted = &call, true
	if meta, ok := body.(metav1.Object); ok {
		if err := checkName(c, meta); err != nil {
			return nil, err
		}
	}
	_, err := s.update(ctx, c, func(old registry.Object) (registry.Object, bool, error) {
		obj, err := c.Sub.Into(old, body)
		if errors.Is(err, errkind.Conflict) {
			// It is the object's state that refuses, not a race with another writer: trying again would change nothing.
			return nil, false, apierrors.NewConflict(schema.GroupResource{Group: s.row(c).gr.Group, Resource: s.row(c).gr.Resource + "/" + c.Sub.Name}, c.Name, err)
		}
		if err == nil {
			keepVersion(obj, body)
		}
		return obj, false, err
	})
	if err != nil {
		return nil, err
	}
	return success(201, nil), nil
}

// admitBody takes what is posted to a subresource, or the options of a stream, through admission.
func (s *Service) admitBody(ctx context.Context, c *Call, op admission.Operation, body runtime.Object) error {
	req := &admission.Request{
		Operation: op, Kind: c.Kind, Subresource: c.Sub.Name, Namespace: c.Namespace, Name: c.Name,
		Body: body, User: c.User, DryRun: c.DryRun, Warn: c.Warn,
	}
	if err := s.Admission.Mutate(ctx, req); err != nil {
		return err
	}
	return s.Admission.Validate(ctx, req)
}

func success(code int32, details *metav1.StatusDetails) *metav1.Status {
	status := &metav1.Status{Status: metav1.StatusSuccess, Code: code, Details: details}
	codec.SetKind(status, codec.StatusKind)
	return status
}

const (
	tokenDefault = int64(60 * 60)
	tokenMin     = int64(10 * 60)
	tokenMax     = int64(1) << 32
)

// token issues a service account token, bound to an object that must exist if the request names one.
func (s *Service) token(ctx context.Context, c *Call, body runtime.Object) (runtime.Object, error) {
	request, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest object: %T", body))
	}
	if s.Accounts == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no key to sign tokens with")
	}
	now, err := s.present(ctx, c, false)
	if err != nil {
		return nil, err
	}
	if request.Spec.ExpirationSeconds == nil || *request.Spec.ExpirationSeconds == 0 {
		seconds := tokenDefault
		request.Spec.ExpirationSeconds = &seconds
	}
	if faults := tokenFaults(request); len(faults) > 0 {
		return nil, apierrors.NewInvalid(c.Sub.GVK.GroupKind(), c.Name, faults)
	}
	private := authn.Kubernetes{Namespace: c.Namespace, Account: authn.Ref{Name: c.Name, UID: string(now.object.GetUID())}}
	if err := s.bindToken(ctx, c, request.Spec.BoundObjectRef, &private); err != nil {
		return nil, err
	}
	lifetime := time.Duration(*request.Spec.ExpirationSeconds) * time.Second
	token, expires, err := s.Accounts.Issue(private, request.Spec.Audiences, lifetime)
	if err != nil {
		return nil, err
	}
	request.Name, request.Namespace = c.Name, c.Namespace
	request.CreationTimestamp = metav1.Time{Time: s.Now().Truncate(time.Second)}
	request.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.Time{Time: expires.Truncate(time.Second)}}
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = []string{authn.DefaultIssuer}
	}
	codec.SetKind(request, c.Sub.GVK)
	return request, nil
}

func tokenFaults(request *authenticationv1.TokenRequest) field.ErrorList {
	path := field.NewPath("spec", "expirationSeconds")
	switch seconds := *request.Spec.ExpirationSeconds; {
	case seconds < tokenMin:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > tokenMax:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// bindToken writes down what the token lives and dies with.
func (s *Service) bindToken(ctx context.Context, c *Call, ref *authenticationv1.BoundObjectReference, private *authn.Kubernetes) error {
	if ref == nil {
		return nil
	}
	resource, namespace := "", c.Namespace
	switch ref.Kind {
	case "Pod":
		resource = "pods"
	case "Secret":
		resource = "secrets"
	case "Node":
		resource, namespace = "nodes", ""
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount to type %s", ref.Kind))
	}
	bound, err := s.Live(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != "" && ref.UID != bound.GetUID() {
		return apierrors.NewConflict(corev1.Resource(resource), ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	named := &authn.Ref{Name: bound.GetName(), UID: string(bound.GetUID())}
	switch pod := bound.(type) {
	case *corev1.Pod:
		if pod.Spec.ServiceAccountName != c.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", c.Name))
		}
		private.Pod = named
		if pod.Spec.NodeName != "" {
			// A node that has gone leaves its name alone in the tokens of its pods (KEP-4193).
			private.Node = &authn.Ref{Name: pod.Spec.NodeName}
			if node, err := s.Live(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), "", pod.Spec.NodeName); err == nil {
				private.Node.UID = string(node.GetUID())
			} else if !apierrors.IsNotFound(err) {
				return err
			}
		}
	case *corev1.Secret:
		private.Secret = named
	case *corev1.Node:
		private.Node = named
	}
	return nil
}
