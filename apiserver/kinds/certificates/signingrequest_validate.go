package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// leastSeconds is the shortest validity that may be asked for: clocks differ, and certificates begin five minutes in the past.
const leastSeconds = 600

func usages() []certificatesv1.KeyUsage {
	return []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
		certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
		certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	}
}

func validateSigningRequest(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := meta.Validate(r, false, path.ValidatePathSegmentName)
	at := field.NewPath("spec")
	if err := validateRequest(r.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(at.Child("request"), r.Spec.Request, err.Error()))
	}
	errs = append(errs, validateUsages(r.Spec.Usages, at.Child("usages"))...)
	if r.Spec.SignerName == certificatesv1beta1.LegacyUnknownSignerName {
		errs = append(errs, field.Invalid(at.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validateSignerName(r.Spec.SignerName, at.Child("signerName"))...)
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < leastSeconds {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

// validateRequest checks that whoever asks has the key: a request is signed with it.
func validateRequest(raw []byte) error {
	request, err := pki.ParseRequest(raw)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

func validateUsages(wanted []certificatesv1.KeyUsage, at *field.Path) field.ErrorList {
	if len(wanted) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for i, usage := range wanted {
		errs = append(errs, check.OneOfOrNone(usage, at.Index(i), usages()...)...)
		if usage == "" {
			errs = append(errs, field.NotSupported(at.Index(i), usage, slices.Sorted(slices.Values(usages()))))
		}
		if slices.Contains(wanted[:i], usage) {
			errs = append(errs, field.Duplicate(at.Index(i), usage))
		}
	}
	return errs
}

// validateSignerName wants a domain and a path below it, "example.com/signer".
func validateSignerName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	segments := strings.Split(name, "/")
	if len(segments) != 2 {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	domain, rest := segments[0], segments[1]
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(at, "", validation.DNS1123SubdomainMaxLength))
	}
	errs = append(errs, firstBad(domain, validation.IsDNS1123Label, at)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, firstBad(rest, validation.IsDNS1123Subdomain, at)...)
	// The path has room for the name of a namespace and that of an object in it.
	if most := validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1; len(rest) > most {
		errs = append(errs, field.TooLong(at, "", most))
	}
	return errs
}

// firstBad checks what stands between the dots of a name, as far as the first part that is wrong: more would only repeat it.
func firstBad(name string, check func(string) []string, at *field.Path) field.ErrorList {
	for _, label := range strings.Split(name, ".") {
		msgs := check(label)
		if len(msgs) == 0 {
			continue
		}
		var errs field.ErrorList
		for _, msg := range msgs {
			errs = append(errs, field.Invalid(at, name, fmt.Sprintf("validating label %q: %s", label, msg)))
		}
		return errs
	}
	return nil
}

func validateSigningRequestUpdate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return slices.Concat(validateAnswer(r, old), keepDecision(r, old), keepCertificate(r, old), meta.ValidateUpdate(r, old))
}

func validateApproval(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return slices.Concat(validateAnswer(r, old), keepCertificate(r, old), meta.ValidateUpdate(r, old))
}

func validateSigningRequestStatus(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := slices.Concat(validateAnswer(r, old), keepDecision(r, old))
	if len(old.Status.Certificate) > 0 && !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(field.NewPath("status", "certificate"), "updates may not modify existing certificate content"))
	}
	return append(errs, meta.ValidateUpdate(r, old)...)
}

// keepCertificate refuses a certificate that does not come by way of the status.
func keepCertificate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("status", "certificate"), "updates may not set certificate content")}
}

// keepDecision refuses a decision that does not come by way of the approval.
func keepDecision(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "conditions")
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		is, was := conditionsOf(r, kind), conditionsOf(old, kind)
		switch {
		case len(is) < len(was): // validateAnswer says so
		case len(is) > len(was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", kind)))
		case !meta.Same(is, was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q\n%v", kind, diff.Diff(was, is))))
		}
	}
	return errs
}

// validateAnswer checks what has been answered so far: no answer is ever taken back. What was there already is let through, whoever let it in.
func validateAnswer(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	at := field.NewPath("status", "conditions")
	errs := validateConditions(r.Status.Conditions, old.Status.Conditions, at)
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(indexesOf(r, kind)) < len(indexesOf(old, kind)) {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", kind)))
		}
	}
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) || validateCertificate(old.Status.Certificate) != nil {
		return errs
	}
	if err := validateCertificate(r.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error()))
	}
	return errs
}

type conditions = []certificatesv1.CertificateSigningRequestCondition

func validateConditions(is, was conditions, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	mayBeBoth, mayBeTwice, mayBeEmpty := contradicts(was), repeats(was), has(was, "")
	for i, c := range is {
		if c.Type == "" && !mayBeEmpty {
			errs = append(errs, field.Required(at.Index(i).Child("type"), ""))
		}
		allowed := []corev1.ConditionStatus{corev1.ConditionTrue}
		if !decides(c.Type) && c.Type != certificatesv1.CertificateFailed {
			allowed = append(allowed, corev1.ConditionFalse, corev1.ConditionUnknown)
		}
		errs = append(errs, check.OneOf(c.Status, at.Index(i).Child("status"), allowed...)...)
		if !mayBeBoth && decides(c.Type) && contradicts(is[:i+1]) {
			errs = append(errs, field.Invalid(at, c.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		if !mayBeTwice && has(is[:i], c.Type) {
			errs = append(errs, field.Duplicate(at.Index(i).Child("type"), c.Type))
		}
	}
	return errs
}

func decides(kind certificatesv1.RequestConditionType) bool {
	return kind == certificatesv1.CertificateApproved || kind == certificatesv1.CertificateDenied
}

func has(all conditions, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(all, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
}

func contradicts(all conditions) bool {
	return has(all, certificatesv1.CertificateApproved) && has(all, certificatesv1.CertificateDenied)
}

func repeats(all conditions) bool {
	for i, c := range all {
		if has(all[:i], c.Type) {
			return true
		}
	}
	return false
}

// validateCertificate wants one or more certificates in PEM form, and nothing else.
func validateCertificate(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	blocks := 0
	for {
		block, rest := pem.Decode(raw)
		if block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		case len(block.Headers) != 0:
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
		raw = rest
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
