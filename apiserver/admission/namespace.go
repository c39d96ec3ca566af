package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// namespaces names the resource the plugin looks things up in.
var namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")

// namespaceLifecycle keeps objects out of namespaces that do not exist or are going, and the namespaces that the system itself
// lives in from being deleted.
type namespaceLifecycle struct{ reader Reader }

func immortal(name string) bool {
	return name == metav1.NamespaceDefault || name == metav1.NamespaceSystem || name == metav1.NamespacePublic
}

func (p *namespaceLifecycle) admit(ctx context.Context, req *Request) error {
	if req.Operation == Delete && req.is("", "namespaces") && immortal(req.Name) {
		return apierrors.NewForbidden(namespaces.GroupResource(), req.Name, fmt.Errorf("this namespace may not be deleted"))
	}
	if req.Operation != Create || !req.Kind.Namespaced {
		return nil
	}
	found, err := p.lookup(ctx, req.Namespace)
	if err != nil {
		return err
	}
	namespace := found.(*corev1.Namespace)
	if namespace.Status.Phase != corev1.NamespaceTerminating && namespace.DeletionTimestamp == nil {
		return nil
	}
	return terminating(req, namespace)
}

// lookup asks the memory first and the store only when the namespace is not there, as it may have been created a moment ago.
func (p *namespaceLifecycle) lookup(ctx context.Context, name string) (registry.Object, error) {
	if found := p.reader.Get(namespaces, "", name); found != nil {
		return found, nil
	}
	return p.reader.Live(ctx, namespaces, "", name)
}

func terminating(req *Request, namespace *corev1.Namespace) error {
	err := apierrors.NewForbidden(req.GVR().GroupResource(), req.Name,
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", req.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", namespace.Name),
		Field:   "metadata.namespace",
	})
	return err
}
