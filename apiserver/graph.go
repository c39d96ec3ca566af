package apiserver

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/api/podrefs"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/cache"
)

// graph is what the authorizer of nodes asks, answered from the memory of pods.
type graph struct{ s *Server }

var _ authz.Graph = graph{}

// business is the index of pods by what is the business of the node that they are bound to.
type business struct{}

// businessKeys are one for the pod itself and one for each object that it refers to.
func businessKeys(e cache.Entry) []string {
	pod, ok := e.Object().(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil
	}
	keys := []string{businessKey(pod.Spec.NodeName, "pods", pod.Namespace, pod.Name)}
	for _, ref := range podrefs.Of(pod) {
		keys = append(keys, businessKey(pod.Spec.NodeName, string(ref.Kind), pod.Namespace, ref.Name))
	}
	return keys
}

func businessKey(node, resource, namespace, name string) string {
	return node + "/" + resource + "/" + namespace + "/" + name
}

// loaded waits until there is a memory to look into.
func (g graph) loaded(ctx context.Context) error {
	select {
	case <-g.s.loaded:
		return nil
	case <-g.s.stopping:
		return apierrors.NewServiceUnavailable("the server is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Refers implements authz.Graph.
func (g graph) Refers(ctx context.Context, node, resource, namespace, name string) (bool, error) {
	if err := g.loaded(ctx); err != nil {
		return false, err
	}
	table := g.s.rest.Rows(g.s.registry.Current().ByResource(coreResource("pods")))
	if table == nil {
		return false, nil
	}
	return len(table.By(business{}, businessKeys, businessKey(node, resource, namespace, name))) > 0, nil
}

// Requester implements authz.Graph. Memory may not have a request yet that its maker asks for at once.
func (g graph) Requester(ctx context.Context, name string) (string, error) {
	if err := g.loaded(ctx); err != nil {
		return "", err
	}
	resource := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	found := g.s.rest.Cached(resource, "", name)
	if found == nil {
		var err error
		if found, err = g.s.rest.Live(ctx, resource, "", name); apierrors.IsNotFound(err) {
			return "", nil
		} else if err != nil {
			return "", err
		}
	}
	request, ok := found.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return "", nil
	}
	return request.Spec.Username, nil
}
