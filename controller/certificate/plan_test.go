package certificate

import (
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/internal/pki"
)

const (
	client  = certificatesv1.KubeAPIServerClientSignerName
	node    = certificatesv1.KubeAPIServerClientKubeletSignerName
	serving = certificatesv1.KubeletServingSignerName
)

// ask is a request of a user, with the usages (separated by commas) that it wishes for.
func ask(t *testing.T, signer, user, groups, usages string, req pki.Request) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	_, raw, err := pki.NewRequest(req)
	if err != nil {
		t.Fatal(err)
	}
	r := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: metav1.Now()},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: raw, SignerName: signer, Username: user, Groups: strings.Fields(groups)},
	}
	for _, u := range strings.Split(usages, ",") {
		r.Spec.Usages = append(r.Spec.Usages, certificatesv1.KeyUsage(u))
	}
	return r
}

func with(r *certificatesv1.CertificateSigningRequest, kinds ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
	for _, kind := range kinds {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: corev1.ConditionTrue, LastUpdateTime: metav1.Now()})
	}
	return r
}

// holders is who has which address: n1 and n2 quarrel over one of them.
func holders(address string) []string {
	return map[string][]string{"n1": {"n1"}, "10.0.0.1": {"n1"}, "n2": {"n2"}, "10.0.0.2": {"n2"}, "10.0.0.9": {"n1", "n2"}}[address]
}

const (
	forClient  = "digital signature,client auth"
	forServing = "server auth,digital signature"
)

// TestApproval: who gets what without a person.
func TestApproval(t *testing.T) {
	n1 := pki.Request{CommonName: "system:node:n1", Organizations: []string{"system:nodes"}}
	server := func(names []string, ips ...string) pki.Request {
		req := n1
		req.DNSNames = names
		for _, ip := range ips {
			req.IPs = append(req.IPs, net.ParseIP(ip))
		}
		return req
	}
	const (
		own   = "approve: Auto approving self kubelet client certificate: the node itself asks."
		first = "approve: Auto approving kubelet client certificate: a bootstrap credential asks."
		serve = "approve: Auto approving self kubelet serving certificate: its names and addresses are the node's."
	)
	tied := func(r *certificatesv1.CertificateSigningRequest, nodes ...string) *certificatesv1.CertificateSigningRequest {
		r.Spec.Extra = map[string]certificatesv1.ExtraValue{"cuppa.dev/node": nodes}
		return r
	}
	for name, c := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		want    string
	}{
		"a node renews":                         {ask(t, node, "system:node:n1", "system:nodes", forClient, n1), own},
		"with an RSA key":                       {ask(t, node, "system:node:n1", "system:nodes", "digital signature,key encipherment,client auth", n1), own},
		"not for another":                       {ask(t, node, "system:node:n2", "system:nodes", forClient, n1), "leave"},
		"not without its group":                 {ask(t, node, "system:node:n1", "staff", forClient, n1), "leave"},
		"not for other purposes":                {ask(t, node, "system:node:n1", "system:nodes", "digital signature,server auth", n1), "leave"},
		"not with addresses":                    {ask(t, node, "system:node:n1", "system:nodes", forClient, server(nil, "10.0.0.1")), "leave"},
		"not in another group":                  {ask(t, node, "system:node:n1", "system:nodes", forClient, pki.Request{CommonName: "system:node:n1", Organizations: []string{"system:masters"}}), "leave"},
		"not of another signer":                 {ask(t, client, "system:node:n1", "system:nodes", forClient, n1), "leave"},
		"a new node":                            {ask(t, node, "system:bootstrap:abc", "system:bootstrappers", forClient, n1), first},
		"tied to this node":                     {tied(ask(t, node, "system:bootstrap:abc", "system:bootstrappers", forClient, n1), "n1"), first},
		"tied to another":                       {tied(ask(t, node, "system:bootstrap:abc", "system:bootstrappers", forClient, n1), "n2"), "leave"},
		"no node's name":                        {ask(t, node, "system:bootstrap:abc", "system:bootstrappers", forClient, pki.Request{CommonName: "system:node:", Organizations: n1.Organizations}), "leave"},
		"no node":                               {ask(t, node, "system:bootstrap:abc", "system:bootstrappers", forClient, pki.Request{CommonName: "jane", Organizations: n1.Organizations}), "leave"},
		"somebody else":                         {ask(t, node, "jane", "staff", forClient, n1), "leave"},
		"a node serves":                         {ask(t, serving, "system:node:n1", "system:nodes", forServing, server([]string{"n1"}, "10.0.0.1")), serve},
		"not under another's name":              {ask(t, serving, "system:node:n1", "system:nodes", forServing, server([]string{"n1", "n2"}, "10.0.0.1")), "leave"},
		"not at another's address":              {ask(t, serving, "system:node:n1", "system:nodes", forServing, server([]string{"n1"}, "10.0.0.2")), "leave"},
		"not at an address that two have":       {ask(t, serving, "system:node:n1", "system:nodes", forServing, server([]string{"n1"}, "10.0.0.9")), "leave"},
		"not at an address that nobody has":     {ask(t, serving, "system:node:n1", "system:nodes", forServing, server([]string{"kubernetes"})), "leave"},
		"a bootstrap credential does not serve": {ask(t, serving, "system:bootstrap:abc", "system:bootstrappers", forServing, server([]string{"n1"})), "leave"},
		"a denied request":                      {with(ask(t, node, "system:node:n1", "system:nodes", forClient, n1), certificatesv1.CertificateDenied), "leave"},
	} {
		got, _, _ := strings.Cut(Decide(Observed{Request: c.request, Holders: holders, Now: time.Now()}).String(), ";")
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestSigning: what is signed of what was approved.
func TestSigning(t *testing.T) {
	n1 := pki.Request{CommonName: "system:node:n1", Organizations: []string{"system:nodes"}}
	at := n1
	at.IPs = []net.IP{net.IPv4(10, 0, 0, 1)}
	short := func(r *certificatesv1.CertificateSigningRequest, seconds int32) *certificatesv1.CertificateSigningRequest {
		r.Spec.ExpirationSeconds = ptr.To(seconds)
		return r
	}
	for name, c := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		want    string
	}{
		"a client":               {ask(t, client, "jane", "", "client auth", pki.Request{CommonName: "jane"}), `issue to "jane" for 0s`},
		"for an hour":            {short(ask(t, client, "jane", "", "client auth,key encipherment", pki.Request{CommonName: "jane"}), 3600), `issue to "jane" for 1h0m0s`},
		"not for too short":      {short(ask(t, client, "jane", "", "client auth", pki.Request{CommonName: "jane"}), 1), `issue to "jane" for 10m0s`},
		"a client that serves":   {ask(t, client, "jane", "", "client auth,server auth", pki.Request{CommonName: "jane"}), "fail: invalid usage for client certificate: server auth"},
		"a client of no use":     {ask(t, client, "jane", "", "digital signature", pki.Request{CommonName: "jane"}), "fail: missing required usage for client certificate: client auth"},
		"a node":                 {ask(t, node, "jane", "", forClient, n1), `issue to "system:node:n1" for 0s`},
		"a node of no group":     {ask(t, node, "jane", "", forClient, pki.Request{CommonName: "system:node:n1"}), "fail: subject organization is not system:nodes"},
		"a node of two groups":   {ask(t, node, "jane", "", forClient, pki.Request{CommonName: "system:node:n1", Organizations: []string{"system:nodes", "system:masters"}}), "fail: subject organization is not system:nodes"},
		"a node's client at":     {ask(t, node, "jane", "", forClient, at), "fail: IP subjectAltNames are not allowed"},
		"a node named otherwise": {ask(t, node, "jane", "", forClient, pki.Request{CommonName: "n1", Organizations: n1.Organizations}), "fail: subject common name does not begin with system:node:"},
		"a node's other use":     {ask(t, node, "jane", "", "client auth", n1), "fail: usages did not match [client auth digital signature key encipherment]"},
		"serving":                {ask(t, serving, "jane", "", forServing, at), `issue to "system:node:n1" for 0s`},
		"serving nowhere":        {ask(t, serving, "jane", "", forServing, n1), "fail: DNS or IP subjectAltName is required"},
		"serving clients":        {ask(t, serving, "jane", "", forClient, at), "fail: usages did not match [digital signature key encipherment server auth]"},
		"others' signers":        {ask(t, "example.com/mine", "jane", "", forClient, n1), "leave"},
	} {
		for _, failed := range []bool{false, true} {
			r, want := with(c.request.DeepCopy(), certificatesv1.CertificateApproved), c.want
			if failed {
				r, want = with(r, certificatesv1.CertificateFailed), "leave"
			}
			got, _, _ := strings.Cut(Decide(Observed{Request: r, Holders: holders, Now: time.Now()}).String(), ";")
			if got != want {
				t.Errorf("%s (failed before: %v): %s, want %s", name, failed, got, want)
			}
		}
	}
}

// TestURIs: a name that pki.Request cannot say.
func TestURIs(t *testing.T) {
	for _, r := range []rule{nodeClientRule, nodeServingRule} {
		req := &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}}}
		req.Subject.Organization = []string{"system:nodes"}
		err := r(req, nil)
		if r(req, nil) == nil {
			t.Errorf("let through")
		}
		req.DNSNames = []string{"n1"}
		if err = r(req, nil); err == nil || !strings.HasSuffix(err.Error(), "are not allowed") {
			t.Errorf("with a name: %v", err)
		}
	}
}

// TestAges: how long requests are kept, and that Again names the moment when they are not any more.
func TestAges(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for name, c := range map[string]struct {
		conditions []certificatesv1.RequestConditionType
		life       time.Duration // of its certificate; 0: none
		want       time.Duration
	}{
		"pending":                {nil, 0, day},
		"denied":                 {[]certificatesv1.RequestConditionType{certificatesv1.CertificateDenied}, 0, hour},
		"approved":               {[]certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, 0, day},
		"failed":                 {[]certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateFailed}, 0, hour},
		"issued":                 {[]certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, day, hour},
		"issued for ten minutes": {[]certificatesv1.RequestConditionType{certificatesv1.CertificateApproved}, 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := with(ask(t, "example.com/mine", "jane", "", "client auth", pki.Request{CommonName: "jane"}), c.conditions...)
				if c.life > 0 {
					r.Status.Certificate = certificate(t, c.life)
				}
				plan := Decide(Observed{Request: r, Now: time.Now()})
				if plan.Do != Leave || plan.Again != c.want {
					t.Fatalf("at once: %s, want to look again in %s", plan, c.want)
				}
				for wait, want := range map[time.Duration]Action{plan.Again - time.Nanosecond: Leave, plan.Again: Remove} {
					if got := Decide(Observed{Request: r, Now: time.Now().Add(wait)}); got.Do != want || want == Remove && got.Why == "" {
						t.Errorf("after %s: %s, want %q", wait, got, want)
					}
				}
			})
		})
	}
}

func certificate(t *testing.T, life time.Duration) []byte {
	t.Helper()
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, raw, err := pki.NewRequest(pki.Request{CommonName: "jane"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := pki.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(req, pki.Terms{Life: life})
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
