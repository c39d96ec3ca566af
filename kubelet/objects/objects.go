// Package objects reads the few API objects that pods refer to: kube.ConfigMaps, kube.Secrets, Services and service account tokens.
//
// It keeps no copies of its own: what kube has in memory is asked first, and the server only when memory lacks it, since a pod may
// arrive before the objects it names. Start with Reader.
package objects

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
)

// Reader reads objects through one identity.
type Reader struct{ Cluster kube.Cluster }

// ConfigMap returns a ConfigMap; the error is errkind.NotFound if there is none.
func (r Reader) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	object, err := r.get(ctx, kube.ConfigMaps, "configmap", namespace, name)
	if err != nil {
		return nil, err
	}
	return object.(*corev1.ConfigMap), nil
}

// Secret returns a Secret; the error is errkind.NotFound if there is none.
func (r Reader) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	object, err := r.get(ctx, kube.Secrets, "secret", namespace, name)
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Secret), nil
}

func (r Reader) get(ctx context.Context, res schema.GroupVersionResource, kind, namespace, name string) (kube.Object, error) {
	if object := r.Cluster.Source(res).Get(namespace, name); object != nil {
		return object, nil
	}
	object, err := r.Cluster.Live(ctx, res, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, errkind.New(errkind.NotFound, "%s %q not found", kind, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, namespace, name, err)
	}
	return object, nil
}

// ServiceList returns the Services of a namespace.
func (r Reader) ServiceList(namespace string) []*corev1.Service {
	var out []*corev1.Service
	for _, object := range r.Cluster.Source(kube.Services).List(namespace, labels.Everything()) {
		out = append(out, object.(*corev1.Service))
	}
	return out
}

// ServiceAccount returns a ServiceAccount, or nil if it cannot be read.
func (r Reader) ServiceAccount(ctx context.Context, namespace, name string) *corev1.ServiceAccount {
	object, err := r.get(ctx, kube.ServiceAccounts, "serviceaccount", namespace, name)
	if err != nil {
		return nil
	}
	return object.(*corev1.ServiceAccount)
}

// Token is a service account token and when it ends.
type Token struct {
	Value   string
	Expires time.Time
}

// Token asks the API for a token bound to a pod.
func (r Reader) Token(ctx context.Context, pod *corev1.Pod, audience string, lifetime time.Duration) (Token, error) {
	seconds := int64(lifetime / time.Second)
	request := &authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenRequest"},
		Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	answer, err := r.Cluster.CreateSub(ctx, kube.ServiceAccounts, pod.Namespace, account, "token", request)
	if err != nil {
		return Token{}, fmt.Errorf("request token of service account %q: %w", account, err)
	}
	token, ok := answer.(*authenticationv1.TokenRequest)
	if !ok || token.Status.Token == "" {
		return Token{}, errkind.New(errkind.Internal, "request token of service account %q: the server's answer has no token", account)
	}
	return Token{Value: token.Status.Token, Expires: token.Status.ExpirationTimestamp.Time}, nil
}
