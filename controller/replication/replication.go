// Package replication keeps as many pods running as each ReplicationController asks for.
//
// It is the smallest living example of an owner of pods: Decide is its plan, owned.Family carries it out. ReplicaSets, which have
// selectors with more to say, are controller/replicaset.
package replication

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/controller/owned"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ owned.Family[*corev1.Pod] }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{owned.Family[*corev1.Pod]{Deps: deps, Owner: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Owners: kube.ReplicationControllers, Dependents: kube.Pods, Noun: "pod"}}
	return loop.Run(loop.Config{Name: "replication", Deps: deps, Reconcile: c.reconcile, Watch: c.Watch})
}

// Decide compares a ReplicationController with its own pods.
func Decide(rc *corev1.ReplicationController, own []*corev1.Pod, now time.Time) owned.ReplicaPlan {
	return wish(rc).Decide(own, now)
}

func wish(rc *corev1.ReplicationController) owned.Replicas {
	return owned.Replicas{Owner: rc, Want: rc.Spec.Replicas, Template: rc.Spec.Template, MinReady: rc.Spec.MinReadySeconds}
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	rc, ok := kube.Get[*corev1.ReplicationController](c.Cluster, c.Owners, key.Namespace, key.Name)
	if !ok || len(rc.Spec.Selector) == 0 || rc.Spec.Template == nil {
		return 0, nil // validation refuses the like; matching everything would be worse than doing nothing
	}
	own, err := c.Claim(ctx, rc, labels.SelectorFromSet(rc.Spec.Selector), owned.Unfinished)
	if err != nil {
		return 0, err
	}
	plan := Decide(rc, own, c.Clock.Now())
	failure := owned.Carry(ctx, c.Family, rc, wish(rc), plan)
	after := rc.DeepCopy()
	after.Status = status(rc, plan.Counts, failure, c.Clock.Now())
	return plan.Again, failure.Join(c.WriteStatus(ctx, rc, after))
}

func status(rc *corev1.ReplicationController, n owned.Counts, failure owned.Failure, now time.Time) corev1.ReplicationControllerStatus {
	s := *rc.Status.DeepCopy()
	s.ObservedGeneration, s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = rc.Generation, n.Replicas, n.FullyLabeled, n.Ready, n.Available
	s.Conditions = owned.Conditions(s.Conditions, failure,
		func(c corev1.ReplicationControllerCondition) bool {
			return c.Type == corev1.ReplicationControllerReplicaFailure
		},
		func(reason, message string, since metav1.Time) corev1.ReplicationControllerCondition {
			return corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerReplicaFailure, Status: corev1.ConditionTrue,
				Reason: reason, Message: message, LastTransitionTime: since}
		}, now)
	return s
}
