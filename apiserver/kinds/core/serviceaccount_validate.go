package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func validateServiceAccount(account *corev1.ServiceAccount) field.ErrorList {
	return meta.Validate(account, true, apivalidation.NameIsDNSSubdomain)
}

func validateServiceAccountUpdate(account, old *corev1.ServiceAccount) field.ErrorList {
	return append(meta.ValidateUpdate(account, old), validateServiceAccount(account)...)
}
