package deployment

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/controller/owned"
)

// Annotations that kubectl rollout and upstream's controller share.
const (
	RevisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// Plan is the next step of one Deployment.
type Plan struct {
	Create   *appsv1.ReplicaSet   // the ReplicaSet of the present template
	Update   []*appsv1.ReplicaSet // changed copies: new sizes, revisions
	Delete   []*appsv1.ReplicaSet // history beyond its limit
	Revision string               // of the present template; "" while there is none
	Status   appsv1.DeploymentStatus
	Again    time.Duration // when the progress deadline passes
}

// String lists the plan's actions.
func (p Plan) String() string {
	var out []string
	if p.Create != nil {
		out = append(out, fmt.Sprintf("create %s=%d", p.Create.Name, *p.Create.Spec.Replicas))
	}
	for _, rs := range p.Update {
		out = append(out, fmt.Sprintf("update %s=%d revision %s", rs.Name, *rs.Spec.Replicas, rs.Annotations[RevisionAnnotation]))
	}
	for _, rs := range p.Delete {
		out = append(out, "delete "+rs.Name)
	}
	s := p.Status
	out = append(out, fmt.Sprintf("status %d replicas, %d updated, %d ready, %d available", s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas))
	return strings.Join(out, "; ")
}

// Decide compares a Deployment with its own ReplicaSets.
func Decide(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, now time.Time) Plan {
	var plan Plan
	r := newRollout(d, sets)
	if d.DeletionTimestamp == nil {
		r.step()
		plan.Create, plan.Update, plan.Delete = r.result()
		if r.current != nil {
			plan.Revision = r.current.Annotations[RevisionAnnotation]
		} else if plan.Create != nil {
			plan.Revision = plan.Create.Annotations[RevisionAnnotation]
		}
	}
	plan.Status, plan.Again = status(d, sets, r, now)
	return plan
}

// rollout is one Deployment seen as sizes of ReplicaSets; its steps change the wanted sizes.
type rollout struct {
	d        *appsv1.Deployment
	sets     []*appsv1.ReplicaSet // oldest first
	current  *appsv1.ReplicaSet   // of the present template; nil: to be created
	old      []*appsv1.ReplicaSet // all others, oldest first
	want     map[string]int32     // wanted size by name, also of the one to be created
	name     string               // of the current one
	replicas int32
	surge    int32
	unavail  int32
}

func newRollout(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *rollout {
	r := &rollout{d: d, sets: slices.Clone(sets), want: map[string]int32{}, replicas: 1}
	if d.Spec.Replicas != nil {
		r.replicas = *d.Spec.Replicas
	}
	r.surge, r.unavail = bounds(d, r.replicas)
	slices.SortFunc(r.sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range r.sets {
		r.want[rs.Name] = *rs.Spec.Replicas
		if r.current == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			r.current = rs // the oldest match wins, so that two equal ones do not alternate
			r.name = rs.Name
			continue
		}
		r.old = append(r.old, rs)
	}
	if r.current == nil {
		r.name = d.Name + "-" + owned.TemplateHash(&d.Spec.Template, d.Status.CollisionCount)
	}
	return r
}

// bounds resolves maxSurge (rounded up) and maxUnavailable (rounded down); both zero would never move, so one may be missing then.
func bounds(d *appsv1.Deployment, replicas int32) (surge, unavailable int32) {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, 0
	}
	ru := d.Spec.Strategy.RollingUpdate
	if ru == nil {
		ru = &appsv1.RollingUpdateDeployment{}
	}
	s, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxSurge, intstr.FromInt32(0)), int(replicas), true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxUnavailable, intstr.FromInt32(0)), int(replicas), false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), min(int32(u), replicas)
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	if a.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != b.Labels[appsv1.DefaultDeploymentUniqueLabelKey] {
		a, b = a.DeepCopy(), b.DeepCopy()
		delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	return equality.Semantic.DeepEqual(a, b)
}

// result turns wanted sizes into objects to create, update and delete.
func (r *rollout) result() (create *appsv1.ReplicaSet, update, remove []*appsv1.ReplicaSet) {
	revision := r.revision()
	if r.current == nil && !r.d.Spec.Paused { // a paused Deployment's edits are gathered, and make no history until it goes on
		create = r.newReplicaSet(revision)
	}
	for _, rs := range r.sets {
		if rs.DeletionTimestamp != nil {
			continue
		}
		changed := rs.DeepCopy()
		if changed.Annotations == nil {
			changed.Annotations = map[string]string{}
		}
		n := r.want[rs.Name]
		changed.Spec.Replicas = &n
		if n > 0 || rs == r.current {
			changed.Annotations[desiredAnnotation] = strconv.Itoa(int(r.replicas))
			changed.Annotations[maxAnnotation] = strconv.Itoa(int(r.replicas + r.surge))
		}
		if rs == r.current {
			changed.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
			copyAnnotations(r.d, changed)
			setRevision(changed, revision)
		}
		if !equality.Semantic.DeepEqual(rs, changed) {
			update = append(update, changed)
		}
	}
	return create, update, r.expired()
}

// revision is one more than the highest of the other sets, unless the current set already has the highest.
func (r *rollout) revision() string {
	highest := int64(0)
	for _, rs := range r.old {
		highest = max(highest, revisionOf(rs))
	}
	if r.current != nil && revisionOf(r.current) > highest {
		return r.current.Annotations[RevisionAnnotation]
	}
	return strconv.FormatInt(highest+1, 10)
}

func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, _ := strconv.ParseInt(rs.Annotations[RevisionAnnotation], 10, 64)
	return n
}

func setRevision(rs *appsv1.ReplicaSet, revision string) {
	before := rs.Annotations[RevisionAnnotation]
	if before == revision {
		return
	}
	if before != "" {
		history := strings.Split(rs.Annotations[historyAnnotation], ",")
		if history[0] == "" {
			history = nil
		}
		rs.Annotations[historyAnnotation] = strings.Join(append(history, before), ",")
	}
	rs.Annotations[RevisionAnnotation] = revision
}

// copyAnnotations hands the Deployment's annotations (kubernetes.io/change-cause above all) to its current ReplicaSet.
func copyAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet) {
	for k, v := range d.Annotations {
		switch k {
		case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, historyAnnotation, desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo:
		default:
			rs.Annotations[k] = v
		}
	}
}

func (r *rollout) newReplicaSet(revision string) *appsv1.ReplicaSet {
	hash := strings.TrimPrefix(r.name, r.d.Name+"-")
	template := *r.d.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := r.d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	n := r.want[r.name]
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            r.name,
			Namespace:       r.d.Namespace,
			Labels:          template.Labels,
			Annotations:     map[string]string{desiredAnnotation: strconv.Itoa(int(r.replicas)), maxAnnotation: strconv.Itoa(int(r.replicas + r.surge))},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &n, MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	copyAnnotations(r.d, rs)
	setRevision(rs, revision)
	return rs
}

// expired are old, empty ReplicaSets beyond the history limit, lowest revision first.
func (r *rollout) expired() []*appsv1.ReplicaSet {
	limit := 10
	if r.d.Spec.RevisionHistoryLimit != nil {
		limit = int(*r.d.Spec.RevisionHistoryLimit)
	}
	var out []*appsv1.ReplicaSet
	for _, rs := range r.old {
		if rs.Status.Replicas == 0 && r.want[rs.Name] == 0 && *rs.Spec.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration && rs.DeletionTimestamp == nil {
			out = append(out, rs)
		}
	}
	slices.SortStableFunc(out, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	return out[:max(0, len(out)-limit)]
}
