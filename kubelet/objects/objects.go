// Package objects reads the few API objects that pods refer to: kube.ConfigMaps, kube.Secrets, Services and service account tokens.
//
// A node may read those ConfigMaps and Secrets alone that its pods refer to, so they are followed one by one, for as long as a pod does (held.go).
// The server is asked when memory lacks one, since a pod may arrive before the objects it names. Start with Reader.
package objects

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/api/podrefs"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
)

// Reader reads objects through one identity. It is safe for concurrent use.
type Reader struct {
	cluster kube.Cluster
	logger  *slog.Logger
	wait    sync.WaitGroup

	mu   sync.Mutex
	held map[key]*held
}

// New returns a Reader that holds nothing yet.
func New(cluster kube.Cluster, logger *slog.Logger) *Reader {
	return &Reader{cluster: cluster, logger: logger, held: map[key]*held{}}
}

// ConfigMap returns a ConfigMap; the error is errkind.NotFound if there is none.
func (r *Reader) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	object, err := r.get(ctx, key{podrefs.ConfigMap, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.ConfigMap), nil
}

// Secret returns a Secret; the error is errkind.NotFound if there is none.
func (r *Reader) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	object, err := r.get(ctx, key{podrefs.Secret, namespace, name})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Secret), nil
}

func (r *Reader) get(ctx context.Context, k key) (kube.Object, error) {
	if object := r.known(ctx, k); object != nil {
		return object, nil
	}
	object, err := r.cluster.Live(ctx, k.resource(), k.namespace, k.name)
	if apierrors.IsNotFound(err) {
		return nil, errkind.New(errkind.NotFound, "%s %q not found", k.noun(), k.name)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", k.noun(), k.namespace, k.name, err)
	}
	return object, nil
}

// ServiceList returns the Services of a namespace.
func (r *Reader) ServiceList(namespace string) []*corev1.Service {
	var out []*corev1.Service
	for _, object := range r.cluster.Source(kube.Services).List(namespace, labels.Everything()) {
		out = append(out, object.(*corev1.Service))
	}
	return out
}

// Token is a service account token and when it ends.
type Token struct {
	Value   string
	Expires time.Time
}

// Token asks the API for a token bound to a pod.
func (r *Reader) Token(ctx context.Context, pod *corev1.Pod, audience string, lifetime time.Duration) (Token, error) {
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
	answer, err := r.cluster.CreateSub(ctx, kube.ServiceAccounts, pod.Namespace, account, "token", request)
	if err != nil {
		return Token{}, fmt.Errorf("request token of service account %q: %w", account, err)
	}
	token, ok := answer.(*authenticationv1.TokenRequest)
	if !ok || token.Status.Token == "" {
		return Token{}, errkind.New(errkind.Internal, "request token of service account %q: the server's answer has no token", account)
	}
	return Token{Value: token.Status.Token, Expires: token.Status.ExpirationTimestamp.Time}, nil
}
