package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func priorityClasses() *registry.Kind {
	return &registry.Kind{
		GVK:            schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
		Resource:       "priorityclasses",
		Singular:       "priorityclass",
		ShortNames:     []string{"pc"},
		StoragePrefix:  "priorityclasses",
		New:            func() registry.Object { return &schedulingv1.PriorityClass{} },
		NewList:        func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Default:        meta.One(defaultPriorityClass),
		PrepareCreate:  meta.One(func(c *schedulingv1.PriorityClass) { c.Generation = 1 }),
		ValidateCreate: meta.Faults(validatePriorityClass),
		ValidateUpdate: meta.FaultsOf(validatePriorityClassUpdate),
		Columns:        priorityClassColumns(),
		Cells:          meta.Cells(priorityClassCells),
	}
}

const (
	// systemPrefix begins the names that are the system's own.
	systemPrefix = "system-"
	// highestOfUsers is the highest value a class may have that is not the system's.
	highestOfUsers = int32(1_000_000_000)
)

// SystemPriorityClasses are the classes that every cluster has.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
	}
	return []*schedulingv1.PriorityClass{
		class("system-cluster-critical", 2*highestOfUsers, "For pods that the cluster needs, on whichever node they run."),
		class("system-node-critical", 2*highestOfUsers+1000, "For pods that a node needs, and that must not be moved from it."),
	}
}

func defaultPriorityClass(c *schedulingv1.PriorityClass) {
	meta.DefaultTo(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
}
