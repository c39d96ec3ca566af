package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// nodePrefix begins the name of every node's identity.
const nodePrefix = "system:node:"

// rule says what a signer does not sign, if it was approved or not. Upstream's words.
type rule func(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error

// signers are those that this controller signs for.
func signers() map[string]rule {
	return map[string]rule{
		certificatesv1.KubeAPIServerClientSignerName:        clientRule,
		certificatesv1.KubeAPIServerClientKubeletSignerName: nodeClientRule,
		certificatesv1.KubeletServingSignerName:             nodeServingRule,
	}
}

// clientRule is for clients of any name: whoever approves looks at that.
func clientRule(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		if u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment && u != certificatesv1.UsageClientAuth {
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// nodeClientRule is for a node as a client of the API.
func nodeClientRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(req.Subject.Organization, []string{api.GroupNodes}):
		return errors.New("subject organization is not system:nodes")
	case len(req.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(req.Subject.CommonName, nodePrefix):
		return errors.New("subject common name does not begin with system:node:")
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

// nodeServingRule is for a node as the server of its kubelet's API.
func nodeServingRule(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(req.Subject.Organization, []string{api.GroupNodes}):
		return errors.New("subject organization is not system:nodes")
	case len(req.DNSNames) == 0 && len(req.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := exactly(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	if !strings.HasPrefix(req.Subject.CommonName, nodePrefix) {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// exactly wants digital signatures and the one purpose. Whoever has an RSA key may wish for key encipherment too.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	want := []certificatesv1.KeyUsage{purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	have := slices.Compact(slices.Sorted(slices.Values(usages)))
	slices.Sort(want)
	withoutRSA := slices.DeleteFunc(slices.Clone(want), func(u certificatesv1.KeyUsage) bool { return u == certificatesv1.UsageKeyEncipherment })
	if !slices.Equal(have, want) && !slices.Equal(have, withoutRSA) {
		return fmt.Errorf("usages did not match %v", want)
	}
	return nil
}

// approval says why a request is approved without a person; "": it is not.
//
// A node has its own client certificate renewed. Whoever brings a bootstrap credential gets the first one of a node, and if the credential is
// for certain nodes, of one of these. A node gets the serving certificate of the names and addresses that its Node object has and no other's:
// what it says of itself is believed as far as it contradicts nobody.
func approval(r *certificatesv1.CertificateSigningRequest, req *x509.CertificateRequest, holders func(string) []string) string {
	node, self := strings.CutPrefix(r.Spec.Username, nodePrefix)
	self = self && r.Spec.Username == req.Subject.CommonName && slices.Contains(r.Spec.Groups, api.GroupNodes)
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		switch {
		case nodeClientRule(req, r.Spec.Usages) != nil:
		case self:
			return "Auto approving self kubelet client certificate: the node itself asks."
		case bootstraps(r, strings.TrimPrefix(req.Subject.CommonName, nodePrefix)):
			return "Auto approving kubelet client certificate: a bootstrap credential asks."
		}
	case certificatesv1.KubeletServingSignerName:
		if self && nodeServingRule(req, r.Spec.Usages) == nil && owns(node, req, holders) {
			return "Auto approving self kubelet serving certificate: its names and addresses are the node's."
		}
	}
	return ""
}

func bootstraps(r *certificatesv1.CertificateSigningRequest, node string) bool {
	only, tied := r.Spec.Extra[api.ExtraNode]
	return slices.Contains(r.Spec.Groups, api.GroupBootstrappers) && node != "" && (!tied || slices.Contains(only, node))
}

func owns(node string, req *x509.CertificateRequest, holders func(string) []string) bool {
	wanted := slices.Clone(req.DNSNames)
	for _, ip := range req.IPAddresses {
		wanted = append(wanted, ip.String())
	}
	return !slices.ContainsFunc(wanted, func(address string) bool { return !slices.Equal(holders(address), []string{node}) })
}

// terms are those that a request may wish for: less time, but no more than the authority gives, and no less than is of use.
func terms(spec *certificatesv1.CertificateSigningRequestSpec) pki.Terms {
	var out pki.Terms
	if s := spec.ExpirationSeconds; s != nil {
		out.Life = max(time.Duration(*s)*time.Second, 10*time.Minute)
	}
	for _, u := range spec.Usages {
		switch u {
		case certificatesv1.UsageDigitalSignature:
			out.Usage |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			out.Usage |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			out.Extended = append(out.Extended, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			out.Extended = append(out.Extended, x509.ExtKeyUsageServerAuth)
		}
	}
	return out
}
