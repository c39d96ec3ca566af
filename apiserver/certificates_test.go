package apiserver_test

import (
	"context"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// signingRules let jane write requests in every way, approve those for one signer, and sign those of a whole domain.
func signingRules(_ context.Context, req authz.Request) (authz.Decision, string, error) {
	allowed := req.User.Name == "jane" && (req.Resource == "certificatesigningrequests" ||
		req.Resource == "signers" && req.Group == "certificates.k8s.io" && (req.Verb == "approve" && req.Name == "example.com/one" || req.Verb == "sign" && req.Name == "example.org/*"))
	if allowed {
		return authz.Allow, "", nil
	}
	return authz.NoOpinion, "", nil
}

// TestCertificateApproval: whoever may write requests may for that not yet answer them; answers are for those who may act for the signer.
func TestCertificateApproval(t *testing.T) {
	s := apiservertest.New(t, apiservertest.Options{Change: func(c *apiserver.Config) {
		c.Authorizer = func(graph authz.Graph) authz.Authorizer {
			return append(authz.Default(graph), authz.Stage{Name: "test", Authorizer: authz.Func(signingRules)})
		}
	}})
	jane, err := kubernetes.NewForConfig(s.Client(t, "jane", "staff"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, requests := t.Context(), jane.CertificatesV1().CertificateSigningRequests()
	for _, c := range []struct {
		signer               string
		approved, signed     string // what refuses it; "": nothing
		justLabelled, denied string
	}{
		{"example.com/one", "", `user not permitted to sign requests with signerName "example.com/one"`, "", ""},
		{"example.com/two", `user not permitted to approve requests with signerName "example.com/two"`, `user not permitted to sign requests with signerName "example.com/two"`,
			"", `user not permitted to approve requests with signerName "example.com/two"`},
		{"example.org/any", `user not permitted to approve requests with signerName "example.org/any"`, "", "", `user not permitted to approve requests with signerName "example.org/any"`},
	} {
		made, err := requests.Create(ctx, request(t, "x", c.signer), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if made.Spec.Username != "jane" || strings.Join(made.Spec.Groups, " ") != "staff system:authenticated" {
			t.Errorf("the request is said to be of %q, %q", made.Spec.Username, made.Spec.Groups)
		}
		decided := func(kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
			out := made.DeepCopy()
			out.ResourceVersion = ""
			out.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "Test"}}
			return out
		}
		labelled := made.DeepCopy()
		labelled.Labels = map[string]string{"a": "b"}
		_, err = requests.UpdateStatus(ctx, labelled, metav1.UpdateOptions{})
		refused(t, c.signer+" label through status", err, c.justLabelled)
		_, err = requests.UpdateApproval(ctx, made.Name, decided(certificatesv1.CertificateApproved), metav1.UpdateOptions{DryRun: []string{"All"}})
		refused(t, c.signer+" approve", err, c.approved)
		_, err = requests.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"status": {"conditions": [{"type": "Odd", "status": "True"}]}}`), metav1.PatchOptions{}, "status")
		refused(t, c.signer+" sign", err, c.signed)
		_, err = requests.UpdateApproval(ctx, made.Name, decided(certificatesv1.CertificateDenied), metav1.UpdateOptions{})
		refused(t, c.signer+" deny", err, c.denied)
	}
	listed, err := requests.List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=example.org/any"})
	if err != nil || len(listed.Items) != 1 {
		t.Errorf("requests for one signer: %d, %v; want 1", len(listed.Items), err)
	}
}

// TestCertificateSubjects: nobody gets a certificate of the administrators' or of Compose's group by asking for it, not even an administrator.
func TestCertificateSubjects(t *testing.T) {
	s := apiservertest.New(t)
	admin, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ group, signer, want string }{
		{"system:masters", certificatesv1.KubeAPIServerClientSignerName, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"},
		{"cuppa:compose", certificatesv1.KubeAPIServerClientSignerName, "use of kubernetes.io/kube-apiserver-client signer with cuppa:compose group is not allowed"},
		{"staff", certificatesv1.KubeAPIServerClientSignerName, ""},
		{"system:masters", "example.com/elsewhere", ""}, // whom its authority names is not for us to say
	} {
		_, err := admin.CertificatesV1().CertificateSigningRequests().Create(t.Context(), request(t, c.group, c.signer), metav1.CreateOptions{})
		refused(t, c.group+" of "+c.signer, err, c.want)
	}
}

// TestKubectlCertificate: kubectl answers requests.
func TestKubectlCertificate(t *testing.T) {
	s := apiservertest.New(t)
	k := newKubectl(t, s)
	admin, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		r := request(t, "staff", "example.com/one")
		r.GenerateName, r.Name = "", name
		if _, err := admin.CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ command, want string }{
		{"kubectl get csr one", "example.com/one   admin       <none>              Pending"},
		{"kubectl certificate approve one", "certificatesigningrequest.certificates.k8s.io/one approved"},
		{"kubectl get csr one", "Approved"},
		{"kubectl certificate deny two", "certificatesigningrequest.certificates.k8s.io/two denied"},
		{"kubectl get csr two", "Denied"},
		{"kubectl describe csr two", "Requesting User:    admin"},
	} {
		if out, err := k.run(step.command); err != nil || !strings.Contains(out, step.want) {
			t.Errorf("%s: %v\n%s\nwant %q", step.command, err, out, step.want)
		}
	}
}

func request(t *testing.T, group, signer string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	_, raw, err := pki.NewRequest(pki.Request{CommonName: "jane", Organizations: []string{group}})
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: raw, SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}},
	}
}

func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestCertificateSubresources: approval and status show the request, and take changes of metadata along with their own part.
func TestCertificateSubresources(t *testing.T) {
	s := apiservertest.New(t)
	admin, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, requests := t.Context(), admin.CertificatesV1().CertificateSigningRequests()
	made, err := requests.Create(ctx, request(t, "staff", "example.com/one"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"approval", "status"} {
		var shown certificatesv1.CertificateSigningRequest
		err := admin.CertificatesV1().RESTClient().Get().Resource("certificatesigningrequests").Name(made.Name).SubResource(sub).Do(ctx).Into(&shown)
		if err != nil || shown.UID != made.UID {
			t.Errorf("get %s: %v, uid %q, want %q", sub, err, shown.UID, made.UID)
		}
		patched, err := requests.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"metadata": {"annotations": {"by": "`+sub+`"}}, "status": {"conditions": [{"type": "`+sub+`", "status": "True"}]}}`),
			metav1.PatchOptions{}, sub)
		if err != nil || patched.Annotations["by"] != sub || len(patched.Status.Conditions) != 1 || string(patched.Status.Conditions[0].Type) != sub || patched.Status.Conditions[0].LastTransitionTime.IsZero() {
			t.Errorf("patch %s: %v, %v, %+v", sub, err, patched.GetAnnotations(), patched.Status)
		}
	}
	// The request itself shows neither of them a way round.
	changed, err := requests.Get(ctx, made.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed.Spec.Username, changed.Status.Conditions, changed.Labels = "somebody", nil, map[string]string{"a": "b"}
	updated, err := requests.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || updated.Spec.Username != "admin" || len(updated.Status.Conditions) != 1 || updated.Labels["a"] != "b" {
		t.Errorf("update: %v, %+v", err, updated)
	}
}
