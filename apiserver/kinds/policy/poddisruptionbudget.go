package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func podDisruptionBudgets() *registry.Kind {
	return &registry.Kind{
		GVK:            policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		Resource:       "poddisruptionbudgets",
		Singular:       "poddisruptionbudget",
		ShortNames:     []string{"pdb"},
		Namespaced:     true,
		StoragePrefix:  "poddisruptionbudgets",
		New:            func() registry.Object { return &policyv1.PodDisruptionBudget{} },
		NewList:        func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		PrepareCreate:  meta.One(prepareBudget),
		PrepareUpdate:  meta.Two(prepareBudgetUpdate),
		ValidateCreate: meta.Faults(validateBudget),
		ValidateUpdate: meta.FaultsOf(validateBudgetUpdate),
		Columns:        budgetColumns(),
		Cells:          meta.Cells(budgetCells),
		Subresources: []registry.Subresource{{
			Name:           "status",
			Verbs:          meta.StatusVerbs(),
			PrepareUpdate:  meta.Two(prepareBudgetStatus),
			ValidateUpdate: meta.FaultsOf(validateBudgetStatus),
		}},
	}
}

func prepareBudget(b *policyv1.PodDisruptionBudget) {
	b.Status = policyv1.PodDisruptionBudgetStatus{}
	b.Generation = 1
	stripOldLabel(b.Spec.Selector)
}

func prepareBudgetUpdate(b, old *policyv1.PodDisruptionBudget) {
	b.Status = old.Status
	if !meta.Same(b.Spec.Selector, old.Spec.Selector) {
		stripOldLabel(b.Spec.Selector)
	}
	meta.BumpGeneration(b, old, !meta.Same(b.Spec, old.Spec))
}

func prepareBudgetStatus(b, old *policyv1.PodDisruptionBudget) {
	b.Spec = old.Spec
	b.Generation = old.Generation
}

// oldLabel is how a selector that means all pods, or none, was once told apart from one without requirements. It must not be mixed with
// requirements of the user's.
const oldLabel = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

func stripOldLabel(s *metav1.LabelSelector) {
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 1 && s.MatchExpressions[0].Key == oldLabel {
		return
	}
	delete(s.MatchLabels, oldLabel)
	kept := s.MatchExpressions[:0]
	for _, e := range s.MatchExpressions {
		if e.Key != oldLabel {
			kept = append(kept, e)
		}
	}
	s.MatchExpressions = kept
}
