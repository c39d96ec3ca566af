package core

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func serviceAccounts() *registry.Kind {
	return &registry.Kind{
		GVK:            coreKind("ServiceAccount"),
		Resource:       "serviceaccounts",
		Singular:       "serviceaccount",
		ShortNames:     []string{"sa"},
		Namespaced:     true,
		StoragePrefix:  "serviceaccounts",
		New:            func() registry.Object { return &corev1.ServiceAccount{} },
		NewList:        func() runtime.Object { return &corev1.ServiceAccountList{} },
		PrepareCreate:  meta.One(prepareServiceAccount),
		PrepareUpdate:  meta.Two(prepareServiceAccountUpdate),
		ValidateCreate: meta.Faults(validateServiceAccount),
		ValidateUpdate: meta.FaultsOf(validateServiceAccountUpdate),
		Columns:        serviceAccountColumns(),
		Cells:          meta.Cells(serviceAccountCells),
		AnswerDeleted:  true,
		Subresources: []registry.Subresource{{
			Name:   "token",
			GVK:    authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
			Verbs:  []string{"create"},
			New:    func() runtime.Object { return &authenticationv1.TokenRequest{} },
			Action: registry.IssueToken,
		}},
	}
}

// prepareServiceAccount keeps the names of secrets alone: nothing reads more of these references.
func prepareServiceAccount(account *corev1.ServiceAccount) {
	for i, ref := range account.Secrets {
		account.Secrets[i] = corev1.ObjectReference{Name: ref.Name}
	}
}

func prepareServiceAccountUpdate(account, _ *corev1.ServiceAccount) { prepareServiceAccount(account) }
