package controller_test

import (
	"fmt"
	"log/slog"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
)

// as is the world seen as somebody.
func (w *world) as(user authn.User) kube.Cluster {
	return local.New(w.server, user, slog.New(slog.DiscardHandler))
}

// TestNodeGetsItsCertificates: whoever brings a bootstrap credential for one node gets the client certificate of that node and of no other; the
// node gets the certificate to serve with once it has told of its address. Signing goes on after the write of a signature was lost.
func TestNodeGetsItsCertificates(t *testing.T) {
	w := newWorld(t)
	w.writes["certificate"].Fail(
		kubetest.Fault{Verb: "update status", Resource: "certificatesigningrequests", Nth: 1, Err: kubetest.Unavailable()},
		kubetest.Fault{Verb: "update approval", Resource: "certificatesigningrequests", Nth: 2, Err: kubetest.Unavailable(), Late: true})
	joiner := w.as(authn.User{Name: "system:bootstrap:abc", Groups: []string{"system:bootstrappers"}, Extra: map[string][]string{"cuppa.dev/node": {"n1"}}})
	node := w.as(authn.User{Name: "system:node:n1", Groups: []string{"system:nodes"}})
	client, server := certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName

	key := w.ask(joiner, "first", client, certificatesv1.UsageClientAuth, "n1")
	w.ask(joiner, "other", client, certificatesv1.UsageClientAuth, "n2")
	w.until(w.issued("first", key))

	w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	key = w.ask(node, "serving", server, certificatesv1.UsageServerAuth, "n1", "n1.example.com")
	if r, _ := kube.Get[*certificatesv1.CertificateSigningRequest](w, kube.CertificateSigningRequests, "", "serving"); len(r.Status.Conditions) > 0 {
		t.Errorf("under a name that nobody has told of: %+v", r.Status.Conditions)
	}
	_, err := kube.MergePatch(w.ctx, node, kube.Nodes, "", "n1", map[string]any{"status": map[string]any{"addresses": []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n1.example.com"}}}}, "status")
	if err != nil {
		t.Fatal(err)
	}
	w.until(w.issued("serving", key))
	if r, _ := kube.Get[*certificatesv1.CertificateSigningRequest](w, kube.CertificateSigningRequests, "", "other"); len(r.Status.Conditions) > 0 {
		t.Errorf("for another node: %+v", r.Status.Conditions)
	}
}

// ask makes a request for a node's certificate, and returns its key.
func (w *world) ask(c kube.Cluster, name, signer string, purpose certificatesv1.KeyUsage, node string, names ...string) []byte {
	w.t.Helper()
	key, raw, err := pki.NewRequest(pki.Request{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}, DNSNames: names})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = c.Create(w.ctx, &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: raw, SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, purpose}}})
	if err != nil {
		w.t.Fatalf("ask for %s: %v", name, err)
	}
	return key
}

// issued says whether a request was answered with a certificate for the key.
func (w *world) issued(name string, key []byte) func() error {
	return func() error {
		r, _ := kube.Get[*certificatesv1.CertificateSigningRequest](w, kube.CertificateSigningRequests, "", name)
		if r == nil || len(r.Status.Certificate) == 0 {
			return fmt.Errorf("request %s: %+v", name, r)
		}
		_, err := pki.Pair{Cert: r.Status.Certificate, Key: key}.TLS()
		return err
	}
}
