// Package certificate answers CertificateSigningRequests: it approves what nodes ask for themselves, signs what was approved for the
// signers of Kubernetes's own names, and removes requests that nobody needs any more.
//
// It approves for nobody but nodes, and signs nothing that was not approved. Start with Decide, in plan.go; rules.go has what each signer wants.
package certificate

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// Sign makes the certificate of a request on the terms given, in PEM form: pki.Authority's.
type Sign func(*x509.CertificateRequest, pki.Terms) ([]byte, error)

type controller struct {
	loop.Deps
	sign Sign
}

// byAddress finds the nodes that call an address or a name theirs, byRequester the requests of a user.
var (
	byAddress   = &kube.Index{Name: "address", Keys: func(obj kube.Object) []string { return addresses(obj) }}
	byRequester = &kube.Index{Name: "requester", Keys: func(obj kube.Object) []string {
		if r, ok := obj.(*certificatesv1.CertificateSigningRequest); ok {
			return []string{r.Spec.Username}
		}
		return nil
	}}
)

func addresses(obj kube.Object) []string {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return nil
	}
	var out []string
	for _, a := range node.Status.Addresses {
		if !slices.Contains(out, a.Address) {
			out = append(out, a.Address)
		}
	}
	return out
}

// New returns the controller as a long-lived part. Without sign (nil) it approves and cleans up, and leaves signing to others.
func New(deps loop.Deps, sign Sign) run.Func {
	c := controller{deps, sign}
	return loop.Run(loop.Config{Name: "certificate", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.CertificateSigningRequests, func(_, new *certificatesv1.CertificateSigningRequest) {
		if new != nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	// A node may ask for the certificate of an address before it has told of the address.
	return kube.Watch(ctx, c.Cluster, kube.Nodes, func(old, new *corev1.Node) {
		if new == nil || old != nil && slices.Equal(addresses(old), addresses(new)) {
			return
		}
		for _, r := range kube.By[*certificatesv1.CertificateSigningRequest](c.Cluster, kube.CertificateSigningRequests, byRequester, nodePrefix+new.Name) {
			enqueue(loop.KeyOf(r))
		}
	})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	r, ok := kube.Get[*certificatesv1.CertificateSigningRequest](c.Cluster, kube.CertificateSigningRequests, "", key.Name)
	if !ok || r.DeletionTimestamp != nil {
		return 0, nil
	}
	plan := Decide(Observed{Request: r, Now: c.Clock.Now(), Holders: func(address string) []string {
		var out []string
		for _, node := range kube.By[*corev1.Node](c.Cluster, kube.Nodes, byAddress, address) {
			out = append(out, node.Name)
		}
		return out
	}})
	if err := c.carry(ctx, r, plan); err != nil {
		return 0, fmt.Errorf("%s certificate signing request %s: %w", plan.Do, key, err)
	}
	return plan.Again, nil
}

// carry does one step. What follows from it is decided when the change comes back.
func (c controller) carry(ctx context.Context, r *certificatesv1.CertificateSigningRequest, plan Plan) error {
	changed := r.DeepCopy()
	var err error
	switch plan.Do {
	case Approve:
		changed.Status.Conditions = append(changed.Status.Conditions, condition(certificatesv1.CertificateApproved, "AutoApproved", plan.Why))
		_, err = c.Cluster.UpdateSub(ctx, changed, "approval")
	case Fail:
		changed.Status.Conditions = append(changed.Status.Conditions, condition(certificatesv1.CertificateFailed, "SignerValidationFailure", plan.Why))
		_, err = c.Cluster.UpdateStatus(ctx, changed)
	case Issue:
		if c.sign == nil {
			return nil
		}
		if changed.Status.Certificate, err = c.sign(plan.Request, plan.Terms); err != nil {
			return err
		}
		_, err = c.Cluster.UpdateStatus(ctx, changed)
	case Remove:
		c.Logger.Info("removing a certificate signing request", "request", r.Name, "reason", plan.Why)
		err = c.Cluster.Delete(ctx, kube.CertificateSigningRequests, "", r.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(r.UID))})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func condition(kind certificatesv1.RequestConditionType, reason, message string) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message}
}
