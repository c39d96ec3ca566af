package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// lease is the node's heartbeat.
type lease struct {
	*Agent
	held *coordinationv1.Lease
}

func (l *lease) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		next := leaseEvery
		if err := l.renew(ctx); err != nil {
			if ctx.Err() == nil && !apierrors.IsNotFound(err) {
				l.Logger.Warn("cannot renew lease", "node", l.Name, "err", err)
			}
			next = retryEvery
		}
		timer.Reset(next)
	}
}

// renew writes the time into the Lease, making it if it is not there.
func (l *lease) renew(ctx context.Context) error {
	if l.held == nil {
		found, err := l.Cluster.Live(ctx, kube.Leases, corev1.NamespaceNodeLease, l.Name)
		switch {
		case apierrors.IsNotFound(err):
			return l.create(ctx)
		case err != nil:
			return err
		}
		l.held = found.(*coordinationv1.Lease)
	}
	next := l.held.DeepCopy()
	l.fill(next)
	written, err := l.Cluster.Update(ctx, next)
	if err != nil {
		l.held = nil // look again: it was changed or deleted
		return err
	}
	l.held = written.(*coordinationv1.Lease)
	return nil
}

func (l *lease) create(ctx context.Context) error {
	fresh := &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Name: l.Name, Namespace: corev1.NamespaceNodeLease},
	}
	l.fill(fresh)
	written, err := l.Cluster.Create(ctx, fresh)
	if err != nil {
		return err
	}
	l.held = written.(*coordinationv1.Lease)
	return nil
}

func (l *lease) fill(to *coordinationv1.Lease) {
	seconds, now := int32(leaseSeconds), metav1.NewMicroTime(time.Now())
	to.Spec.HolderIdentity, to.Spec.LeaseDurationSeconds, to.Spec.RenewTime = &l.Name, &seconds, &now
	if node, ok := kube.Get[*corev1.Node](l.Cluster, kube.Nodes, "", l.Name); ok {
		to.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
}
