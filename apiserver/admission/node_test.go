package admission

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// TestNodeRestriction: what node n1 may do to objects, beyond what the authorizer lets through.
func TestNodeRestriction(t *testing.T) {
	pod := func(op Operation, subresource, name string) *Request {
		old, _ := objects()["pods/default/"+name].(*corev1.Pod)
		req := &Request{Operation: op, Kind: kindOf("pods"), Subresource: subresource, Namespace: "default", Name: name}
		if old != nil && op != Create {
			req.Old = old
		}
		if old != nil && op == Update {
			req.Object = old.DeepCopy()
		}
		return req
	}
	relabelled := pod(Update, "status", "mine")
	relabelled.Object.SetLabels(map[string]string{"app": "db"})

	mirror := func(change func(*corev1.Pod)) *Request {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "m", Annotations: map[string]string{mirrorAnnotation: "x"}, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "n1-uid", Controller: ptr.To(true)}}}, Spec: corev1.PodSpec{NodeName: "n1"}}
		change(p)
		return &Request{Operation: Create, Kind: kindOf("pods"), Namespace: "default", Name: "m", Object: p}
	}
	node := func(op Operation, name string, change func(*corev1.Node)) *Request {
		old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"a": "b", "node-restriction.kubernetes.io/team": "x"}}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}}}
		now := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		req := &Request{Operation: op, Kind: kindOf("nodes"), Name: name}
		if op == Update {
			now, req.Old = old.DeepCopy(), old
		}
		change(now)
		req.Object = now
		return req
	}
	label := func(key string) func(*corev1.Node) {
		return func(n *corev1.Node) { metav1.SetMetaDataLabel(&n.ObjectMeta, key, "new") }
	}
	token := func(pod, account string, uid types.UID, audiences ...string) *Request {
		return &Request{Operation: Create, Kind: kindOf("serviceaccounts"), Subresource: "token", Namespace: "default", Name: account,
			Body: &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: uid}}}}
	}
	lease := func(op Operation, namespace, name string) *Request {
		return &Request{Operation: op, Kind: kinds.All().ByResource(coordinationv1.SchemeGroupVersion.WithResource("leases")), Namespace: namespace, Name: name,
			Object: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}}
	}
	service := func(kind corev1.ServiceType, change func(*corev1.Service)) *Request {
		old := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Type: kind}}
		now := old.DeepCopy()
		now.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		change(now)
		return &Request{Operation: Update, Kind: kindOf("services"), Subresource: "status", Namespace: "default", Name: "s", Old: old, Object: now}
	}
	for name, c := range map[string]struct {
		req  *Request
		want string // empty: admitted
	}{
		"status of its own pod":       {pod(Update, "status", "mine"), ""},
		"status of another's pod":     {pod(Update, "status", "other"), `node "n1" can only update pod status for pods with spec.nodeName set to itself`},
		"labels through the status":   {relabelled, `node "n1" cannot update labels through pod status`},
		"delete its own pod":          {pod(Delete, "", "mine"), ""},
		"delete another's pod":        {pod(Delete, "", "other"), `node "n1" can only delete pods with spec.nodeName set to itself`},
		"delete what is not there":    {pod(Delete, "", "none"), ""},
		"evict its own pod":           {pod(Create, "eviction", "mine"), ""},
		"evict another's pod":         {pod(Create, "eviction", "other"), `node "n1" can only evict pods with spec.nodeName set to itself`},
		"change its own pod":          {pod(Update, "", "mine"), `unexpected operation "UPDATE"`},
		"bind a pod":                  {pod(Create, "binding", "mine"), `unexpected pod subresource "binding"`},
		"a mirror pod":                {mirror(func(*corev1.Pod) {}), ""},
		"no mirror pod":               {mirror(func(p *corev1.Pod) { p.Annotations = nil }), "can only create mirror pods"},
		"a mirror pod elsewhere":      {mirror(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), "can only create pods with spec.nodeName set to itself"},
		"nobody's mirror pod":         {mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }), "can only create pods with an owner reference set to itself"},
		"another's mirror pod":        {mirror(func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" }), "can only create pods with an owner reference set to itself"},
		"a former node's mirror pod":  {mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), "node n1 UID mismatch: expected old got n1-uid"},
		"a mirror pod with secrets":   {mirror(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}} }), "can not create pods that reference secrets"},
		"register":                    {node(Create, "n1", label("kubernetes.io/hostname")), ""},
		"register another":            {node(Create, "n2", func(*corev1.Node) {}), `node "n1" is not allowed to modify node "n2"`},
		"register with taints":        {node(Create, "n1", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k"}} }), ""},
		"register with a label":       {node(Create, "n1", label("node-restriction.kubernetes.io/team")), `node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/team`},
		"a label of its own":          {node(Update, "n1", label("example.com/rack")), ""},
		"a label of kubelets":         {node(Update, "n1", label("topology.kubernetes.io/zone")), ""},
		"a label of Kubernetes":       {node(Update, "n1", label("node-role.kubernetes.io/control-plane")), "is not allowed to modify labels: node-role.kubernetes.io/control-plane"},
		"a label of Kubernetes below": {node(Update, "n1", label("x.k8s.io/y")), "is not allowed to modify labels: x.k8s.io/y"},
		"take a label away":           {node(Update, "n1", func(n *corev1.Node) { n.Labels = nil }), "is not allowed to modify labels: node-restriction.kubernetes.io/team"},
		"take a taint away":           {node(Update, "n1", func(n *corev1.Node) { n.Spec.Taints = nil }), `node "n1" is not allowed to modify taints`},
		"an owner":                    {node(Update, "n1", func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{Name: "x"}} }), `node "n1" is not allowed to modify ownerReferences`},
		"another's node":              {node(Update, "n2", func(*corev1.Node) {}), `node "n1" is not allowed to modify node "n2"`},
		"a token":                     {token("mine", "default", "1"), ""},
		"for whom the pod says":       {token("mine", "default", "1", "vault"), ""},
		"for somebody else":           {token("mine", "default", "1", "bank"), `system:node:n1 is not authorized to request tokens for audience "bank"`},
		"for two":                     {token("mine", "default", "1", "vault", ""), "node may only request 0 or 1 audiences"},
		"of another's pod":            {token("other", "default", "2"), "node requested token bound to a pod scheduled on a different node"},
		"of a former pod":             {token("mine", "default", "7"), "does not match the UID in record"},
		"of any pod of the name":      {token("mine", "default", ""), "without a uid"},
		"of no pod":                   {token("none", "default", "1"), `pods "none" not found`},
		"of another account":          {token("mine", "quiet", "1"), "for an account that its pod does not run as"},
		"its lease":                   {lease(Create, corev1.NamespaceNodeLease, "n1"), ""},
		"another's lease":             {lease(Create, corev1.NamespaceNodeLease, "n2"), "can only access node lease with the same name as the requesting node"},
		"a lease elsewhere":           {lease(Update, "kube-system", "n1"), `can only access leases in the "kube-node-lease" system namespace`},
		"its certificate":             {certificateRequest(t, certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n1"), ""},
		"another's certificate":       {certificateRequest(t, certificatesv1.KubeletServingSignerName, "system:node:n2"), "can only create a node CSR with CN=system:node:n1"},
		"of another signer":           {certificateRequest(t, "example.com/x", "jane"), ""},
		"where it publishes":          {service(corev1.ServiceTypeLoadBalancer, func(*corev1.Service) {}), ""},
		"what it does not publish":    {service(corev1.ServiceTypeClusterIP, func(*corev1.Service) {}), `node "n1" can only update the status of Services of type LoadBalancer`},
		"labels of a Service":         {service(corev1.ServiceTypeLoadBalancer, func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} }), `node "n1" cannot update metadata through Service status`},
	} {
		chain := Default(Config{Reader: withNodes(), Authorizer: authz.Rules{}})
		c.req.User, c.req.Warn = authn.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}, func(string) {}
		err := chain.Validate(t.Context(), c.req)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		c.req.User.Name = "somebody"
		if err := chain.Validate(t.Context(), c.req); err == nil || !strings.Contains(err.Error(), `could not determine node from user "somebody"`) {
			t.Errorf("%s, by a node without a name: %v", name, err)
		}
	}
}

func withNodes() world {
	w := objects()
	w["nodes//n1"] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "n1-uid"}}
	return w
}

func certificateRequest(t *testing.T, signer, name string) *Request {
	t.Helper()
	_, raw, err := pki.NewRequest(pki.Request{CommonName: name, Organizations: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	kind := kinds.All().ByResource(certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"))
	return &Request{Operation: Create, Kind: kind, Name: "r", Object: &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Request: raw, SignerName: signer}}}
}
