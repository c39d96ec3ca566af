package kinds

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// prepareServiceAccount keeps the names of secrets alone: nothing reads more of these references.
func prepareServiceAccount(account *corev1.ServiceAccount) {
	for i, ref := range account.Secrets {
		account.Secrets[i] = corev1.ObjectReference{Name: ref.Name}
	}
}

func prepareServiceAccountUpdate(account, _ *corev1.ServiceAccount) { prepareServiceAccount(account) }

func validateServiceAccount(account *corev1.ServiceAccount) field.ErrorList {
	return validateMeta(account, true, apivalidation.NameIsDNSSubdomain)
}

func validateServiceAccountUpdate(account, old *corev1.ServiceAccount) field.ErrorList {
	return append(validateMetaUpdate(account, old), validateServiceAccount(account)...)
}

func serviceAccountCells(account *corev1.ServiceAccount) []any {
	return []any{account.Name, age(account.CreationTimestamp)}
}
