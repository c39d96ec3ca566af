package admission

import (
	"bytes"
	"context"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// signers keeps decisions about certificates, and their signatures, to those who may act for the signer that is asked, whoever may write the
// requests themselves.
type signers struct {
	may func(ctx context.Context, question authz.Request) bool
}

// approve asks for the verb approve on the signer of a request that is approved or denied.
func (p *signers) approve(ctx context.Context, req *Request) error {
	old, ok := signingRequest(req, "approval")
	if !ok || p.acts(ctx, req.User, "approve", old.Spec.SignerName) {
		return nil
	}
	return refuse(req, "user not permitted to approve requests with signerName %q", old.Spec.SignerName)
}

// sign asks for the verb sign on the signer of a request whose status changes.
func (p *signers) sign(ctx context.Context, req *Request) error {
	old, ok := signingRequest(req, "status")
	if !ok {
		return nil
	}
	now := req.Object.(*certificatesv1.CertificateSigningRequest)
	same := bytes.Equal(now.Status.Certificate, old.Status.Certificate) && equality.Semantic.DeepEqual(now.Status.Conditions, old.Status.Conditions)
	if same || p.acts(ctx, req.User, "sign", old.Spec.SignerName) {
		return nil
	}
	return refuse(req, "user not permitted to sign requests with signerName %q", old.Spec.SignerName)
}

// signingRequest is the stored request that a write through the subresource changes. The stored one counts: it names the signer.
func signingRequest(req *Request, subresource string) (*certificatesv1.CertificateSigningRequest, bool) {
	if !req.is(certificatesv1.GroupName, "certificatesigningrequests") || req.Subresource != subresource {
		return nil, false
	}
	old, ok := req.Old.(*certificatesv1.CertificateSigningRequest)
	return old, ok
}

// acts asks for the verb on the signer, or on all signers of its domain ("example.com/*").
func (p *signers) acts(ctx context.Context, user authn.User, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	return slices.ContainsFunc([]string{signer, domain + "/*"}, func(name string) bool {
		return p.may(ctx, authz.Request{User: user, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name})
	})
}

// restrictSubject refuses requests for client certificates of groups that nobody is to have by a certificate of this signer: an approver who does
// not look closely would give the whole cluster away.
func restrictSubject(_ context.Context, req *Request) error {
	request, ok := req.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || req.Subresource != "" || request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := pki.ParseRequest(request.Spec.Request)
	if err != nil {
		return refuse(req, "failed to parse CSR: %v", err)
	}
	for _, group := range parsed.Subject.Organization {
		if group == api.GroupMasters || group == api.GroupCompose {
			return refuse(req, "use of %s signer with %s group is not allowed", request.Spec.SignerName, group)
		}
	}
	return nil
}
