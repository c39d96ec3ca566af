package kinds

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// coordination is the group coordination.k8s.io. Its Lease is the smallest whole kind: the one to copy.
func coordination() []*Kind {
	return []*Kind{{
		GVK:            coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Resource:       "leases",
		Singular:       "lease",
		Namespaced:     true,
		StoragePrefix:  "leases",
		New:            func() Object { return &coordinationv1.Lease{} },
		NewList:        func() runtime.Object { return &coordinationv1.LeaseList{} },
		ValidateCreate: faults(validateLease),
		ValidateUpdate: faultsOf(validateLeaseUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			col("Holder", "string", "The identity of the holder of this lease."),
			ageColumn(),
		},
		Cells: cells(leaseCells),
	}}
}

func validateLease(lease *coordinationv1.Lease) field.ErrorList {
	errs := validateMeta(lease, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateLeaseSpec(&lease.Spec, field.NewPath("spec"))...)
}

func validateLeaseUpdate(lease, old *coordinationv1.Lease) field.ErrorList {
	errs := validateMetaUpdate(lease, old)
	return append(errs, validateLeaseSpec(&lease.Spec, field.NewPath("spec"))...)
}

func validateLeaseSpec(spec *coordinationv1.LeaseSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.LeaseDurationSeconds != nil && *spec.LeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *spec.LeaseDurationSeconds, "must be greater than 0"))
	}
	if spec.LeaseTransitions != nil && *spec.LeaseTransitions < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *spec.LeaseTransitions, "must be greater than or equal to 0"))
	}
	if spec.Strategy != nil {
		errs = append(errs, validateLeaseStrategy(*spec.Strategy, path.Child("strategy"))...)
	}
	// A preferred holder only means something to coordinated leader election, which needs a strategy.
	if spec.PreferredHolder != nil && *spec.PreferredHolder != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified when `strategy` is defined"))
	}
	return errs
}

// validateLeaseStrategy accepts a qualified name: the one known strategy, or one with a domain of its own.
func validateLeaseStrategy(strategy coordinationv1.CoordinatedLeaseStrategy, path *field.Path) field.ErrorList {
	if strategy == coordinationv1.OldestEmulationVersion {
		return nil
	}
	var errs field.ErrorList
	for _, msg := range qualifiedWithDomain(string(strategy)) {
		errs = append(errs, field.Invalid(path, strategy, msg))
	}
	return errs
}

func leaseCells(lease *coordinationv1.Lease) []any {
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	return []any{lease.Name, holder, age(lease.CreationTimestamp)}
}
