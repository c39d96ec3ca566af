package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func signingRequestColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.AgeColumn(),
		meta.Col("SignerName", "string", "Who is asked to sign."),
		meta.Col("Requestor", "string", "Who asks."),
		meta.Col("RequestedDuration", "string", "How long the certificate is to be valid."),
		meta.Col("Condition", "string", "What was decided, and whether the certificate is there."),
	}
}

func signingRequestCells(r *certificatesv1.CertificateSigningRequest) []any {
	wanted := "<none>"
	if s := r.Spec.ExpirationSeconds; s != nil {
		wanted = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, meta.Age(r.CreationTimestamp), meta.OrDefault(r.Spec.SignerName, "<none>"), r.Spec.Username, wanted, conditionCell(r)}
}

// conditionCell gives a denial precedence over an approval, as signers do.
func conditionCell(r *certificatesv1.CertificateSigningRequest) string {
	out := "Pending"
	switch {
	case len(indexesOf(r, certificatesv1.CertificateDenied)) > 0:
		out = "Denied"
	case len(indexesOf(r, certificatesv1.CertificateApproved)) > 0:
		out = "Approved"
	}
	if len(indexesOf(r, certificatesv1.CertificateFailed)) > 0 {
		out += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		out += ",Issued"
	}
	return out
}
