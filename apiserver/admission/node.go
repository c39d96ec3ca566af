package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kubeletapis "k8s.io/kubelet/pkg/apis"

	"github.com/cuppa-project/cuppa/api/podrefs"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// nodeRestriction keeps a node to its own objects: its pods, their tokens (in token.go), its Node, its lease, its certificates. It goes with the
// authorizer of nodes, which lets all through that only the object can tell of.
type nodeRestriction struct {
	reader Reader
	may    func(ctx context.Context, question authz.Request) bool
}

var (
	podResource  = corev1.SchemeGroupVersion.WithResource("pods")
	nodeResource = corev1.SchemeGroupVersion.WithResource("nodes")
)

func (p *nodeRestriction) validate(ctx context.Context, req *Request) error {
	node, ok := req.User.Node()
	switch {
	case !ok:
		return nil
	case node == "":
		return refuse(req, "could not determine node from user %q", req.User.Name)
	case req.is("", "pods"):
		return p.pod(node, req)
	case req.is("", "nodes"):
		return p.node(node, req)
	case req.is("", "services"):
		return p.service(node, req)
	case req.is("", "serviceaccounts") && req.Subresource == "token":
		return p.token(ctx, node, req)
	case req.is(coordinationv1.GroupName, "leases"):
		return p.lease(node, req)
	case req.is(certificatesv1.GroupName, "certificatesigningrequests") && req.Operation == Create && req.Subresource == "":
		return p.certificate(node, req)
	}
	return nil
}

// pod lets a node take part in the lives of the pods that are bound to it: their status, their eviction, their end. Pods that it makes are mirrors.
func (p *nodeRestriction) pod(node string, req *Request) error {
	switch {
	case req.Subresource == "" && req.Operation == Create:
		return p.mirror(node, req, req.Object.(*corev1.Pod))
	case req.Subresource == "" && req.Operation == Update:
		return refuse(req, "unexpected operation %q, node %q can only create and delete mirror pods", req.Operation, node)
	case req.Subresource != "" && req.Subresource != "status" && req.Subresource != "eviction":
		return refuse(req, "unexpected pod subresource %q, only 'status' and 'eviction' are allowed", req.Subresource)
	}
	pod, _ := req.Old.(*corev1.Pod)
	if pod == nil {
		pod, _ = p.reader.Get(podResource, req.Namespace, req.Name).(*corev1.Pod)
	}
	if pod == nil {
		return nil // what is not there is not found by who looks for it next
	}
	if pod.Spec.NodeName != node {
		return refuse(req, "node %q can only %s pods with spec.nodeName set to itself", node, podVerb(req))
	}
	if now, ok := req.Object.(*corev1.Pod); ok && !maps.Equal(now.Labels, pod.Labels) {
		return refuse(req, "node %q cannot update labels through pod status", node)
	}
	return nil
}

func podVerb(req *Request) string {
	switch {
	case req.Subresource == "status":
		return "update pod status for"
	case req.Subresource == "eviction":
		return "evict"
	}
	return "delete"
}

// mirror lets a node show a pod that it runs by itself, which refers to nothing but the node.
func (p *nodeRestriction) mirror(node string, req *Request, pod *corev1.Pod) error {
	switch {
	case !isMirror(pod):
		return refuse(req, "pod does not have %q annotation, node %q can only create mirror pods", mirrorAnnotation, node)
	case pod.Spec.NodeName != node:
		return refuse(req, "node %q can only create pods with spec.nodeName set to itself", node)
	case len(pod.OwnerReferences) > 1:
		return refuse(req, "node %q can only create pods with a single owner reference set to itself", node)
	case len(pod.OwnerReferences) == 0:
		return refuse(req, "node %q can only create pods with an owner reference set to itself", node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return refuse(req, "node %q can only create pods with an owner reference set to itself", node)
	case owner.Controller == nil || !*owner.Controller:
		return refuse(req, "node %q can only create pods with a controller owner reference set to itself", node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return refuse(req, "node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	own := p.reader.Get(nodeResource, "", node)
	if own == nil {
		return apierrors.NewNotFound(nodeResource.GroupResource(), node)
	}
	if own.GetUID() != owner.UID {
		return refuse(req, "node %s UID mismatch: expected %s got %s", node, owner.UID, own.GetUID())
	}
	if refs := podrefs.InSpec(pod); len(refs) > 0 {
		return refuse(req, "node %q can not create pods that reference %s", node, refs[0].Kind)
	}
	return nil
}

// node lets a node register itself and tell of itself, and keeps it from drawing pods that it should not have: by labels that are not its to give,
// or by taking taints away.
func (p *nodeRestriction) node(node string, req *Request) error {
	name := req.Name
	if req.Operation == Create {
		name = req.Object.GetName()
	}
	if name != node {
		return refuse(req, "node %q is not allowed to modify node %q", node, name)
	}
	now, ok := req.Object.(*corev1.Node)
	if !ok {
		return nil
	}
	if req.Operation == Create {
		if now.Spec.ConfigSource != nil {
			return refuse(req, "node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if labels := notItsOwn(now.Labels, nil); len(labels) > 0 {
			return refuse(req, "node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", "))
		}
		return nil
	}
	old := req.Old.(*corev1.Node)
	switch {
	case now.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(now.Spec.ConfigSource, old.Spec.ConfigSource):
		return refuse(req, "node %q is not allowed to update configSource to a new non-nil configSource", node)
	case !equality.Semantic.DeepEqual(now.Spec.Taints, old.Spec.Taints):
		return refuse(req, "node %q is not allowed to modify taints", node)
	case !equality.Semantic.DeepEqual(now.OwnerReferences, old.OwnerReferences):
		return refuse(req, "node %q is not allowed to modify ownerReferences", node)
	}
	if labels := notItsOwn(now.Labels, old.Labels); len(labels) > 0 {
		return refuse(req, "is not allowed to modify labels: %s", strings.Join(labels, ", "))
	}
	return nil
}

// notItsOwn lists the labels that differ and that a node does not give itself: those of the domain made for that, and those of Kubernetes's
// own domains that kubelets have no say in.
func notItsOwn(now, old map[string]string) []string {
	var out []string
	differ := func(a, b map[string]string) {
		for key, value := range a {
			if other, ok := b[key]; (!ok || other != value) && forbiddenLabel(key) && !slices.Contains(out, key) {
				out = append(out, key)
			}
		}
	}
	differ(now, old)
	differ(old, now)
	slices.Sort(out)
	return out
}

func forbiddenLabel(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	below := func(parent string) bool { return ok && (domain == parent || strings.HasSuffix(domain, "."+parent)) }
	return below(corev1.LabelNamespaceNodeRestriction) || (below("kubernetes.io") || below("k8s.io")) && !kubeletapis.IsKubeletLabel(key)
}

// service lets a node tell where it publishes a Service, and nothing of the Services that no node publishes.
func (p *nodeRestriction) service(node string, req *Request) error {
	now, ok := req.Object.(*corev1.Service)
	old, was := req.Old.(*corev1.Service)
	switch {
	case req.Subresource != "status" || !ok || !was:
		return nil // the authorizer lets a node write nothing else
	case old.Spec.Type != corev1.ServiceTypeLoadBalancer && len(old.Status.LoadBalancer.Ingress) == 0 && len(old.Status.Conditions) == 0:
		return refuse(req, "node %q can only update the status of Services of type LoadBalancer", node)
	case !maps.Equal(now.Labels, old.Labels) || !maps.Equal(now.Annotations, old.Annotations) || !slices.Equal(now.Finalizers, old.Finalizers) ||
		!equality.Semantic.DeepEqual(now.OwnerReferences, old.OwnerReferences):
		return refuse(req, "node %q cannot update metadata through Service status", node)
	}
	return nil
}

func (p *nodeRestriction) lease(node string, req *Request) error {
	name := req.Name
	if req.Operation == Create {
		name = req.Object.GetName()
	}
	switch {
	case req.Namespace != corev1.NamespaceNodeLease:
		return refuse(req, "can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case name != node:
		return refuse(req, "can only access node lease with the same name as the requesting node")
	}
	return nil
}

// certificate lets a node ask for certificates of nodes under its own name alone.
func (p *nodeRestriction) certificate(node string, req *Request) error {
	request := req.Object.(*certificatesv1.CertificateSigningRequest)
	if request.Spec.SignerName != certificatesv1.KubeletServingSignerName && request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := pki.ParseRequest(request.Spec.Request)
	if err != nil {
		return refuse(req, "unable to parse csr: %v", err)
	}
	if want := authn.NodeName(node); parsed.Subject.CommonName != want {
		return refuse(req, "can only create a node CSR with CN=%s", want)
	}
	return nil
}

func refuse(req *Request, format string, args ...any) error {
	return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf(format, args...))
}
