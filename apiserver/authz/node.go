package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/authn"
)

// Graph is what the server knows of the objects that are a node's business. Both functions may wait, as long as ctx lasts, until it knows.
type Graph interface {
	// Refers is true if a pod that is bound to the node refers to the object (api/podrefs has how), or, for the resource pods, is it.
	Refers(ctx context.Context, node, resource, namespace, name string) (bool, error)
	// Requester is who made a certificate signing request; "": there is none of the name.
	Requester(ctx context.Context, name string) (string, error)
}

// nodes is the authorizer of nodes. It knows nobody else.
type nodes struct{ graph Graph }

// Authorize implements Authorizer.
func (n nodes) Authorize(ctx context.Context, req Request) (Decision, string, error) {
	node, ok := req.User.Node()
	switch {
	case !ok:
		return NoOpinion, "", nil
	case node == "":
		return NoOpinion, fmt.Sprintf("unknown node for user %q", req.User.Name), nil
	case req.Resource == "":
		return NoOpinion, "", nil // paths are as free to nodes as to anyone known
	}
	why := ""
	for _, rule := range nodeTable {
		if !rule.fits(req) {
			continue
		}
		if rule.only == nil {
			return Allow, "", nil
		}
		reason, err := rule.only(ctx, n.graph, node, req)
		if err == nil && reason == "" {
			return Allow, "", nil
		}
		if err != nil {
			return NoOpinion, reason, err
		}
		why = reason
	}
	return NoOpinion, why, nil
}

// nodeRule is one row: some verbs on one resource.
type nodeRule struct {
	resource string // "group/resource[/subresource]"
	verbs    string // separated by spaces
	// only says why a node may not; "": it may. Nil: every node may.
	only func(ctx context.Context, graph Graph, node string, req Request) (string, error)
}

func (r nodeRule) fits(req Request) bool {
	return slices.Contains(strings.Fields(r.verbs), req.Verb) && matches(req, []string{r.resource})
}

// nodeTable is what a kubelet and the network agent of its node need. A node reads what its own pods refer to, object by object, and changes what
// is its own. Where only the object tells whose it is (a pod to create, a lease's name), admission decides: its plugin NodeRestriction.
var nodeTable = []nodeRule{
	{"/nodes", "get list watch", nil},
	{"/nodes", "create update patch", ownName},
	{"/nodes/status", "get update patch", ownName},
	{"/pods", "get", referred},
	{"/pods", "list watch", ownPods},
	{"/pods", "create delete", nil},
	{"/pods/status", "get", referred},
	{"/pods/status", "update patch", nil},
	{"/pods/eviction", "create", nil},
	{"/configmaps", "get list watch", referred},
	{"/secrets", "get list watch", referred},
	{"/persistentvolumeclaims", "get", referred},
	{"/serviceaccounts", "get", referred},
	{"/serviceaccounts/token", "create", referred},
	{"/services", "get list watch", nil},
	{"/services/status", "update patch", nil},
	{"discovery.k8s.io/endpointslices", "get list watch", nil},
	{"/events", "create update patch", nil},
	{"events.k8s.io/events", "create update patch", nil},
	{"coordination.k8s.io/leases", "get create update patch delete", ownLease},
	{"certificates.k8s.io/certificatesigningrequests", "create", nil},
	{"certificates.k8s.io/certificatesigningrequests", "get list watch", ownRequest},
}

// ownName is for objects that have the node's name. A create does not tell the name yet.
func ownName(_ context.Context, _ Graph, node string, req Request) (string, error) {
	if req.Name == node || req.Name == "" && req.Verb == "create" {
		return "", nil
	}
	return fmt.Sprintf("node '%s' cannot change '%s', only its own Node object", node, req.Name), nil
}

// ownLease is for the lease by which the node says that it lives.
func ownLease(_ context.Context, _ Graph, node string, req Request) (string, error) {
	switch {
	case req.Namespace != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease), nil
	case req.Name == node || req.Name == "" && req.Verb == "create":
		return "", nil
	}
	return "can only access node lease with the same name as the requesting node", nil
}

// referred is for single objects of namespaces that the node's pods refer to.
func referred(ctx context.Context, graph Graph, node string, req Request) (string, error) {
	switch {
	case req.Namespace == "":
		return "can only read namespaced object of this type", nil
	case req.Name == "":
		return "No Object name found", nil
	}
	ok, err := graph.Refers(ctx, node, req.Resource, req.Namespace, req.Name)
	if err != nil || ok {
		return "", err
	}
	return fmt.Sprintf("no relationship found between node '%s' and this object", node), nil
}

// ownPods is for the pods that are bound to the node, all of them or one.
func ownPods(ctx context.Context, graph Graph, node string, req Request) (string, error) {
	if req.Selector != nil {
		if value, ok := req.Selector.RequiresExactMatch("spec.nodeName"); ok && value == node {
			return "", nil
		}
	}
	if req.Name != "" {
		return referred(ctx, graph, node, req)
	}
	return "can only list/watch pods with spec.nodeName field selector", nil
}

// ownRequest is for single requests that the node itself has made.
func ownRequest(ctx context.Context, graph Graph, node string, req Request) (string, error) {
	if req.Name == "" {
		return "No Object name found", nil
	}
	who, err := graph.Requester(ctx, req.Name)
	if err != nil || who == authn.NodeName(node) {
		return "", err
	}
	return fmt.Sprintf("node '%s' can only read the certificate signing requests that it made", node), nil
}
