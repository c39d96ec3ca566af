package deployment

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
)

// step changes the wanted sizes by as much as the present state allows.
func (r *rollout) step() {
	if r.scaled() || r.d.Spec.Paused {
		r.scale()
		return
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		r.recreate()
		return
	}
	r.grow()
	r.shrink()
}

// scaled says whether the Deployment's size changed since its ReplicaSets were last sized.
func (r *rollout) scaled() bool {
	for _, rs := range r.sets {
		desired, err := strconv.Atoi(rs.Annotations[desiredAnnotation])
		if *rs.Spec.Replicas > 0 && err == nil && int32(desired) != r.replicas {
			return true
		}
	}
	return false
}

// recreate removes every old pod before it makes a new one.
func (r *rollout) recreate() {
	left := int32(0)
	for _, rs := range r.old {
		r.want[rs.Name] = 0
		left += *rs.Spec.Replicas + rs.Status.Replicas
		if rs.Status.TerminatingReplicas != nil {
			left += *rs.Status.TerminatingReplicas
		}
	}
	if left == 0 {
		r.want[r.name] = r.replicas
	}
}

// grow enlarges the current set by what maxSurge leaves room for.
func (r *rollout) grow() {
	now := r.want[r.name]
	if now >= r.replicas {
		r.want[r.name] = r.replicas
		return
	}
	room := r.replicas + r.surge - r.total()
	r.want[r.name] = now + max(0, min(room, r.replicas-now))
}

func (r *rollout) total() (n int32) {
	for _, w := range r.want {
		n += w
	}
	return n
}

// shrink takes from old sets what may go without falling below the minimum that must stay available: broken pods first, which
// cost nothing, then, oldest set first, as many available ones as the current set has already replaced.
func (r *rollout) shrink() {
	minAvailable := r.replicas - r.unavail
	newUnavailable := r.want[r.name]
	available := int32(0)
	if r.current != nil {
		newUnavailable -= r.current.Status.AvailableReplicas
		available += r.current.Status.AvailableReplicas
	}
	budget := r.total() - minAvailable - newUnavailable
	if budget <= 0 {
		return
	}
	for _, rs := range r.old {
		if rs.Status.ObservedGeneration < rs.Generation {
			// Its numbers are of the time before the last resize: they would count pods that are already going.
			return
		}
		broken := min(r.want[rs.Name]-rs.Status.AvailableReplicas, budget)
		if broken > 0 {
			r.want[rs.Name] -= broken
			budget -= broken
		}
		available += min(rs.Status.AvailableReplicas, r.want[rs.Name])
	}
	surplus := available - minAvailable
	for _, rs := range r.old {
		take := min(surplus, r.want[rs.Name], budget)
		if take <= 0 {
			continue
		}
		r.want[rs.Name] -= take
		surplus -= take
		budget -= take
	}
}

// scale spreads a changed size over the sets in proportion to what they have, so that a resize in the middle of a rollout neither
// speeds it up nor undoes it.
func (r *rollout) scale() {
	var active []*appsv1.ReplicaSet
	for _, rs := range r.sets {
		if *rs.Spec.Replicas > 0 {
			active = append(active, rs)
		}
	}
	switch {
	case len(active) == 0:
		if r.current != nil || !r.d.Spec.Paused {
			r.want[r.name] = r.replicas
		} else if len(r.old) > 0 {
			r.want[r.old[len(r.old)-1].Name] = r.replicas
		} // one that was born paused gets its first pods when it goes on
		return
	case len(active) == 1:
		r.want[active[0].Name] = r.replicas
		return
	case r.current != nil && r.saturated():
		for _, rs := range r.old {
			r.want[rs.Name] = 0
		}
		r.want[r.name] = r.replicas
		return
	}
	r.spread(active)
}

// saturated says whether the current set has all the pods the Deployment wanted before it was resized.
func (r *rollout) saturated() bool {
	desired, err := strconv.Atoi(r.current.Annotations[desiredAnnotation])
	return err == nil && *r.current.Spec.Replicas == int32(desired) && r.current.Status.AvailableReplicas == int32(desired)
}

func (r *rollout) spread(active []*appsv1.ReplicaSet) {
	allowed := int32(0)
	if r.replicas > 0 {
		allowed = r.replicas + r.surge
	}
	add := allowed - r.total()
	given := int32(0)
	// The newest set comes first when growing and last when shrinking: what is rounded goes to where the rollout leads.
	order := active
	if add > 0 {
		order = make([]*appsv1.ReplicaSet, 0, len(active))
		for i := len(active) - 1; i >= 0; i-- {
			order = append(order, active[i])
		}
	}
	for _, rs := range order {
		share := proportion(rs, r.replicas+r.surge, add, given)
		r.want[rs.Name] = max(0, *rs.Spec.Replicas+share)
		given += share
	}
	rest := add - given
	if len(order) > 0 && rest != 0 {
		first := order[0].Name
		r.want[first] = max(0, r.want[first]+rest)
	}
}

// proportion is the set's share of add, by its part of what the Deployment could hold when it was last sized.
func proportion(rs *appsv1.ReplicaSet, maxNow, add, given int32) int32 {
	before, err := strconv.Atoi(rs.Annotations[maxAnnotation])
	if err != nil || before == 0 {
		before = int(max(1, maxNow-add))
	}
	size := float64(*rs.Spec.Replicas) * float64(maxNow) / float64(before)
	share := int32(size+0.5) - *rs.Spec.Replicas
	if add > 0 {
		return max(0, min(share, add-given))
	}
	return min(0, max(share, add-given))
}
