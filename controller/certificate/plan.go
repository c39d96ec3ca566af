package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/pki"
)

// How long requests are kept: answered ones since their answer, others since they were made. Upstream's ages.
const (
	answeredAge = time.Hour
	pendingAge  = 24 * time.Hour
)

// Action is what is to be done with a request.
type Action string

// The actions; Leave is none.
const (
	Leave   Action = ""
	Approve Action = "approve"
	Issue   Action = "issue"
	Fail    Action = "fail"
	Remove  Action = "remove"
)

// Observed is what a decision is made from.
type Observed struct {
	Request *certificatesv1.CertificateSigningRequest
	// Holders names the nodes whose Node objects call an address or a name their own.
	Holders func(address string) []string
	Now     time.Time
}

// Plan is the next step for one request.
type Plan struct {
	Do      Action
	Why     string                   // in words for people: of an approval, a failure, a removal
	Request *x509.CertificateRequest // of Issue
	Terms   pki.Terms                // of Issue
	Again   time.Duration            // when to look again even if nothing changes; 0: not at all
}

// String returns the plan in words.
func (p Plan) String() string {
	var out string
	switch p.Do {
	case Leave:
		out = "leave"
	case Issue:
		out = fmt.Sprintf("issue to %q for %s", p.Request.Subject.CommonName, p.Terms.Life)
	default:
		out = fmt.Sprintf("%s: %s", p.Do, p.Why)
	}
	if p.Again > 0 {
		out += fmt.Sprintf("; again in %s", p.Again)
	}
	return out
}

// Decide returns the next step. A denied or failed request gets no further, whatever else is said of it; of the signers, those whose rules are
// in rules.go are ours.
func Decide(o Observed) Plan {
	r := o.Request
	keep, why := kept(r, o.Now)
	if keep <= 0 {
		return Plan{Do: Remove, Why: why}
	}
	plan := Plan{Again: keep}
	denied, failed := find(r, certificatesv1.CertificateDenied), find(r, certificatesv1.CertificateFailed)
	if denied != nil || failed != nil || len(r.Status.Certificate) > 0 {
		return plan
	}
	request, err := pki.ParseRequest(r.Spec.Request)
	if err != nil {
		return plan // the server takes none that cannot be read
	}
	if find(r, certificatesv1.CertificateApproved) == nil {
		if why := approval(r, request, o.Holders); why != "" {
			plan.Do, plan.Why = Approve, why
		}
		return plan
	}
	rule, ours := signers()[r.Spec.SignerName]
	if !ours {
		return plan
	}
	if err := rule(request, r.Spec.Usages); err != nil {
		plan.Do, plan.Why = Fail, err.Error()
		return plan
	}
	plan.Do, plan.Request, plan.Terms = Issue, request, terms(&r.Spec)
	return plan
}

// kept is how long a request is still kept, and if it is not, why.
func kept(r *certificatesv1.CertificateSigningRequest, now time.Time) (left time.Duration, why string) {
	left = pendingAge // for a request with conditions that say nothing
	limit := func(since metav1.Time, age time.Duration, reason string) {
		if since.IsZero() {
			return
		}
		if l := since.Add(age).Sub(now); l < left {
			left, why = l, reason
		}
	}
	if len(r.Status.Conditions) == 0 {
		limit(r.CreationTimestamp, pendingAge, "nobody has answered it for a day")
	}
	if c := find(r, certificatesv1.CertificateDenied); c != nil {
		limit(c.LastUpdateTime, answeredAge, "it was denied an hour ago")
	}
	if c := find(r, certificatesv1.CertificateFailed); c != nil {
		limit(c.LastUpdateTime, answeredAge, "it failed an hour ago")
	}
	if c := find(r, certificatesv1.CertificateApproved); c != nil {
		if len(r.Status.Certificate) == 0 {
			limit(c.LastUpdateTime, pendingAge, "it was approved a day ago, and nobody has signed it")
		} else {
			limit(c.LastUpdateTime, answeredAge, "its certificate was issued an hour ago")
			limit(ends(r.Status.Certificate), 0, "its certificate has ended")
		}
	}
	return left, why
}

// ends is when a certificate in PEM form ends; zero: it cannot be read.
func ends(raw []byte) metav1.Time {
	block, _ := pem.Decode(raw)
	if block == nil {
		return metav1.Time{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return metav1.Time{}
	}
	return metav1.Time{Time: cert.NotAfter}
}

func find(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	i := slices.IndexFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &r.Status.Conditions[i]
}
