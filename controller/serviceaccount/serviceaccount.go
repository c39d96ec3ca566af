// Package serviceaccount gives every namespace what its pods need to speak to the API: the default ServiceAccount and the
// ConfigMap with the cluster's CA.
//
// Both are made again when somebody deletes them, and the CA is put right when somebody changes it.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// The names that upstream uses and pods are mounted with.
const (
	account = "default"
	rootCA  = "kube-root-ca.crt"
	caKey   = "ca.crt"
)

type controller struct {
	loop.Deps
	ca string
}

// New returns the controller as a long-lived part. ca is the cluster's CA in PEM form.
func New(deps loop.Deps, ca []byte) run.Func {
	c := controller{deps, string(ca)}
	return loop.Run(loop.Config{Name: "serviceaccount", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Namespaces, func(old, new *corev1.Namespace) {
		if new != nil && new.DeletionTimestamp == nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, c.Cluster, kube.ServiceAccounts, func(old, new *corev1.ServiceAccount) {
		if new == nil && old.Name == account {
			enqueue(loop.Key{Name: old.Namespace})
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.ConfigMaps, func(old, new *corev1.ConfigMap) {
		if old != nil && old.Name == rootCA {
			enqueue(loop.Key{Name: old.Namespace})
		}
	})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	ns, ok := kube.Get[*corev1.Namespace](c.Cluster, kube.Namespaces, "", key.Name)
	if !ok || ns.DeletionTimestamp != nil {
		return 0, nil
	}
	return 0, errors.Join(c.ensureAccount(ctx, key.Name), c.ensureCA(ctx, key.Name))
}

func (c controller) ensureAccount(ctx context.Context, namespace string) error {
	if _, ok := kube.Get[*corev1.ServiceAccount](c.Cluster, kube.ServiceAccounts, namespace, account); ok {
		return nil
	}
	_, err := c.Cluster.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}})
	return ending(err, "create default service account")
}

func (c controller) ensureCA(ctx context.Context, namespace string) error {
	have, ok := kube.Get[*corev1.ConfigMap](c.Cluster, kube.ConfigMaps, namespace, rootCA)
	if !ok {
		_, err := c.Cluster.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: rootCA},
			Data: map[string]string{caKey: c.ca}})
		return ending(err, "create CA config map")
	}
	if have.Data[caKey] == c.ca && len(have.Data) == 1 {
		return nil
	}
	changed := have.DeepCopy()
	changed.Data = map[string]string{caKey: c.ca}
	_, err := c.Cluster.Update(ctx, changed)
	return ending(err, "update CA config map")
}

// ending wraps err, but for what a namespace on its way out answers, and a race with another writer.
func ending(err error, what string) error {
	if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
