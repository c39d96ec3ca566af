package workload

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

// Counts is what the status of a ReplicaSet or a ReplicationController counts.
type Counts struct {
	Replicas, FullyLabeled, Ready, Available int32
	ObservedGeneration                       int64
}

// ValidateCounts holds the figures of a status to be possible: none negative, no part greater than its whole.
func ValidateCounts(c Counts, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"replicas", int64(c.Replicas)}, {"fullyLabeledReplicas", int64(c.FullyLabeled)}, {"readyReplicas", int64(c.Ready)},
		{"availableReplicas", int64(c.Available)}, {"observedGeneration", c.ObservedGeneration},
	} {
		errs = append(errs, check.NonNegative(f.value, path.Child(f.name))...)
	}
	errs = append(errs, NotMore(c.FullyLabeled, c.Replicas, "status.replicas", path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, NotMore(c.Ready, c.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, NotMore(c.Available, c.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	return append(errs, NotMore(c.Available, c.Ready, "readyReplicas", path.Child("availableReplicas"))...)
}
