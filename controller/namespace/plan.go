package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Observed is what is left in a namespace, and what went wrong with deleting it.
type Observed struct {
	Remaining  map[schema.GroupResource]int // objects; none: the resource is not in it
	Finalizers map[string]int               // objects that have it
	Failures   []error
	Now        time.Time
}

// Empty says whether nothing is left.
func (o Observed) Empty() bool { return len(o.Remaining) == 0 && len(o.Failures) == 0 }

// condition is one row of what the status of a namespace on its way out says: well, or what is the matter.
type condition struct {
	kind         corev1.NamespaceConditionType
	well, said   string
	ill, problem string // problem is "" if there is none
}

// Conditions are those of a namespace that is being deleted. They keep the times of the ones before that say the same.
func Conditions(o Observed, before []corev1.NamespaceCondition) []corev1.NamespaceCondition {
	rows := []condition{
		{kind: corev1.NamespaceDeletionDiscoveryFailure, well: "ResourcesDiscovered", said: "All resources successfully discovered"},
		{kind: corev1.NamespaceDeletionGVParsingFailure, well: "ParsedGroupVersions", said: "All legacy kube types successfully parsed"},
		{corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization",
			"ContentDeletionFailed", failures(o.Failures)},
		{corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed", "SomeResourcesRemain", remaining(o.Remaining)},
		{corev1.NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished", "SomeFinalizersRemain", finalizers(o.Finalizers)},
	}
	out := slices.DeleteFunc(slices.Clone(before), func(c corev1.NamespaceCondition) bool {
		return slices.ContainsFunc(rows, func(row condition) bool { return row.kind == c.Type })
	})
	for _, row := range rows {
		c := corev1.NamespaceCondition{Type: row.kind, Status: corev1.ConditionFalse, Reason: row.well, Message: row.said,
			LastTransitionTime: metav1.NewTime(o.Now.Truncate(time.Second))}
		if row.problem != "" {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, row.ill, row.problem
		}
		for _, old := range before {
			if old.Type == c.Type && old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	return out
}

func failures(errs []error) string {
	if len(errs) == 0 {
		return ""
	}
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	slices.Sort(out)
	return fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(out), strings.Join(out, ", "))
}

func remaining(counts map[schema.GroupResource]int) string {
	var out []string
	for res, n := range counts {
		out = append(out, fmt.Sprintf("%s.%s has %d resource instances", res.Resource, res.Group, n))
	}
	return told("Some resources are remaining: ", out)
}

func finalizers(counts map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s in %d resource instances", name, counts[name]))
	}
	return told("Some content in the namespace has finalizers remaining: ", out)
}

func told(text string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return text + strings.Join(list, ", ")
}
