package certificates

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// signingRequests is the row of CertificateSigningRequest. What is asked for never changes; two subresources hold the answers: approval those
// of whoever decides, status those of whoever signs.
func signingRequests() *registry.Kind {
	return &registry.Kind{
		GVK:              certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		Resource:         "certificatesigningrequests",
		Singular:         "certificatesigningrequest",
		ShortNames:       []string{"csr"},
		StoragePrefix:    "certificatesigningrequests",
		New:              func() registry.Object { return &certificatesv1.CertificateSigningRequest{} },
		NewList:          func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		PrepareCreate:    meta.One(prepareSigningRequest),
		Requested:        requested,
		PrepareUpdate:    meta.Two(prepareSigningRequestUpdate),
		ValidateCreate:   meta.Faults(validateSigningRequest),
		ValidateUpdate:   meta.FaultsOf(validateSigningRequestUpdate),
		Fields:           signingRequestFields,
		SelectableFields: []string{"spec.signerName"},
		Columns:          signingRequestColumns(),
		Cells:            meta.Cells(signingRequestCells),
		Subresources: []registry.Subresource{
			{
				Name:           "approval",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareApproval),
				ValidateUpdate: meta.FaultsOf(validateApproval),
			},
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareSigningRequestStatus),
				ValidateUpdate: meta.FaultsOf(validateSigningRequestStatus),
			},
		},
	}
}

// prepareSigningRequest drops whatever a client says about itself, and every answer.
func prepareSigningRequest(r *certificatesv1.CertificateSigningRequest) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	r.Status = certificatesv1.CertificateSigningRequestStatus{}
}

// requested notes who asks: approvers go by that, not by what the request says of itself.
func requested(obj registry.Object, user authenticationv1.UserInfo) {
	r := obj.(*certificatesv1.CertificateSigningRequest)
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = user.Username, user.UID, user.Groups
	for key, values := range user.Extra {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		r.Spec.Extra[key] = certificatesv1.ExtraValue(values)
	}
}

func prepareSigningRequestUpdate(r, old *certificatesv1.CertificateSigningRequest) {
	r.Spec, r.Status = old.Spec, old.Status
}

// prepareApproval lets the conditions alone be changed.
func prepareApproval(r, old *certificatesv1.CertificateSigningRequest) {
	conditions := dated(r.Status.Conditions, old.Status.Conditions)
	r.Spec, r.Status = old.Spec, old.Status
	r.Status.Conditions = conditions
}

// prepareSigningRequestStatus keeps what was decided as it is: a signer that writes it a little differently has not meant to. One that adds
// or leaves out a decision is refused by validation.
func prepareSigningRequestStatus(r, old *certificatesv1.CertificateSigningRequest) {
	r.Spec = old.Spec
	keepConditions(r, old, certificatesv1.CertificateApproved)
	keepConditions(r, old, certificatesv1.CertificateDenied)
	r.Status.Conditions = dated(r.Status.Conditions, old.Status.Conditions)
}

func keepConditions(r, old *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) {
	was, is := conditionsOf(old, kind), indexesOf(r, kind)
	if len(was) != len(is) {
		return
	}
	for i, index := range is {
		r.Status.Conditions[index] = was[i]
	}
}

// conditionsOf are the conditions of a type; indexesOf is where they stand.
func conditionsOf(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, i := range indexesOf(r, kind) {
		out = append(out, r.Status.Conditions[i])
	}
	return out
}

func indexesOf(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) []int {
	var out []int
	for i, c := range r.Status.Conditions {
		if c.Type == kind {
			out = append(out, i)
		}
	}
	return out
}

// dated fills in the times that a client left out: it says so now, and it has been so since it was first said.
func dated(conditions, old []certificatesv1.CertificateSigningRequestCondition) []certificatesv1.CertificateSigningRequestCondition {
	now := metav1.Time{Time: time.Now().Truncate(time.Second)}
	for i := range conditions {
		c := &conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = since(c, old, now)
		}
	}
	return conditions
}

func since(c *certificatesv1.CertificateSigningRequestCondition, old []certificatesv1.CertificateSigningRequestCondition, now metav1.Time) metav1.Time {
	for _, before := range old {
		if before.Type == c.Type && before.Status == c.Status && !before.LastTransitionTime.IsZero() {
			return before.LastTransitionTime
		}
	}
	return now
}

func signingRequestFields(obj registry.Object) fields.Set {
	return meta.WithFields(obj, fields.Set{"spec.signerName": obj.(*certificatesv1.CertificateSigningRequest).Spec.SignerName})
}
