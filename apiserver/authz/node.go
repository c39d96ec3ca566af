package authz

import (
	"context"
	"slices"
	"strings"
)

// nodes is the authorizer of nodes. It knows nobody else.
func nodes(_ context.Context, req Request) (Decision, string, error) {
	if req.User.In("system:nodes") && nodeMay(req) {
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}

// nodeMay is what a kubelet and the network agent of its node need. A node changes only objects of its own name where
// names are nodes' names; which pods are its own is decided by admission, which sees the objects.
func nodeMay(req Request) bool {
	node, ok := strings.CutPrefix(req.User.Name, "system:node:")
	if !ok {
		return false
	}
	if req.Resource == "" {
		return discovery(req)
	}
	for _, allow := range nodeTable {
		if allow.fits(req) && (!allow.ownName || req.Name == node || (req.Name == "" && req.Verb == "create")) {
			return true
		}
	}
	return false
}

// nodeRule is one row: some verbs on one resource.
type nodeRule struct {
	resource string // "group/resource[/subresource]"
	verbs    string // separated by spaces
	ownName  bool   // only for the object that has the node's name
}

func (r nodeRule) fits(req Request) bool {
	return slices.Contains(strings.Fields(r.verbs), req.Verb) && matches(req, []string{r.resource})
}

var nodeTable = []nodeRule{
	{resource: "/nodes", verbs: "get list watch"},
	{resource: "/nodes", verbs: "create update patch", ownName: true},
	{resource: "/nodes/status", verbs: "get update patch", ownName: true},
	{resource: "/pods", verbs: "get list watch create delete"},
	{resource: "/pods/status", verbs: "get update patch"},
	{resource: "/pods/eviction", verbs: "create"},
	{resource: "/services", verbs: "get list watch"},
	{resource: "/namespaces", verbs: "get list watch"},
	{resource: "discovery.k8s.io/endpointslices", verbs: "get list watch"},
	{resource: "/configmaps", verbs: "get list watch"},
	{resource: "/secrets", verbs: "get list watch"},
	{resource: "/serviceaccounts", verbs: "get"},
	{resource: "/serviceaccounts/token", verbs: "create"},
	{resource: "/events", verbs: "create update patch"},
	{resource: "events.k8s.io/events", verbs: "create update patch"},
	{resource: "certificates.k8s.io/certificatesigningrequests", verbs: "create get list watch"},
	{resource: "coordination.k8s.io/leases", verbs: "get list watch create update patch delete"},
}
