// Package replicaset keeps as many pods running as each ReplicaSet asks for.
//
// Start with Decide in plan.go, which is the whole decision; owned.Family carries it out.
package replicaset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/controller/owned"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

type controller struct{ owned.Family[*corev1.Pod] }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{owned.Family[*corev1.Pod]{Deps: deps, Owner: kind, Owners: kube.ReplicaSets, Dependents: kube.Pods, Noun: "pod"}}
	return loop.Run(loop.Config{Name: "replicaset", Deps: deps, Reconcile: c.reconcile, Watch: c.Watch, Workers: 8})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	rs, ok := kube.Get[*appsv1.ReplicaSet](c.Cluster, c.Owners, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil // validation refuses such a selector; matching everything would be worse than doing nothing
	}
	own, err := c.Claim(ctx, rs, selector, owned.Unfinished)
	if err != nil {
		return 0, err
	}
	plan := Decide(rs, own, c.Clock.Now())
	failure := owned.Carry(ctx, c.Family, rs, wish(rs), plan)
	after := rs.DeepCopy()
	after.Status = status(rs, plan.Counts, failure, c.Clock.Now())
	return plan.Again, failure.Join(c.WriteStatus(ctx, rs, after))
}
