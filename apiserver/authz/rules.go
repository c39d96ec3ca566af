package authz

import (
	"context"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/authn"
)

// Rule grants something to some identities. Rules only ever allow.
type Rule struct {
	Who   func(authn.User) bool
	What  func(Request) bool
	Whose string // for people: who this rule is for
}

// Rules is an Authorizer made of a table: the first rule that fits allows. It denies nothing.
type Rules []Rule

// Authorize implements Authorizer.
func (r Rules) Authorize(_ context.Context, req Request) (Decision, string, error) {
	for i := range r {
		if r[i].Who(req.User) && r[i].What(req) {
			return Allow, "", nil
		}
	}
	return NoOpinion, "", nil
}

// system is what each loop of the control plane needs for its own work, and what everyone may ask.
func system() Rules {
	return Rules{
		{Whose: "the scheduler", Who: name("system:kube-scheduler"), What: oneOf(
			read("/nodes", "/pods", "/namespaces", "/services", "/replicationcontrollers", "/persistentvolumeclaims", "/persistentvolumes",
				"apps/replicasets", "apps/statefulsets", "policy/poddisruptionbudgets", "scheduling.k8s.io/priorityclasses",
				"storage.k8s.io/storageclasses", "storage.k8s.io/csinodes", "storage.k8s.io/csidrivers", "storage.k8s.io/csistoragecapacities",
				"coordination.k8s.io/leases"),
			write("create", "/pods/binding"),
			write("update patch", "/pods/status"),
			write("create delete", "/pods"),
			write("create update patch", "/events", "events.k8s.io/events"),
			write("create update patch", "coordination.k8s.io/leases"),
		)},
		{Whose: "controllers", Who: prefix("system:controller:"), What: everyResource},
		{Whose: "the controller manager", Who: name("system:kube-controller-manager"), What: everyResource},
		{Whose: "Compose's front end", Who: group(api.GroupCompose), What: oneOf(
			read("/namespaces", "/pods", "/services", "/configmaps", "/secrets", "/events", "/nodes", "apps/deployments", "apps/replicasets"),
			write("create update patch delete", "/namespaces", "/pods", "/services", "/configmaps", "/secrets", "apps/deployments"),
			write("get create", "/pods/exec", "/pods/attach", "/pods/portforward"),
			write("get", "/pods/log"),
		)},
		{Whose: "who joins with a node", Who: group(api.GroupBootstrappers), What: write("create get list watch", "certificates.k8s.io/certificatesigningrequests")},
		{Whose: "anyone known: discovery", Who: group(authn.GroupAuthenticated), What: discovery},
		{Whose: "anyone known: about themselves", Who: group(authn.GroupAuthenticated), What: write("create", "authentication.k8s.io/selfsubjectreviews",
			"authorization.k8s.io/selfsubjectaccessreviews", "authorization.k8s.io/selfsubjectrulesreviews")},
		{Whose: "service accounts: whose tokens are good", Who: group("system:serviceaccounts"), What: issuer},
		{Whose: "anyone at all: health and version", Who: anyone, What: health},
	}
}

func anyone(authn.User) bool { return true }

func group(want string) func(authn.User) bool {
	return func(u authn.User) bool { return u.In(want) }
}

func name(want string) func(authn.User) bool {
	return func(u authn.User) bool { return u.Name == want }
}

func prefix(want string) func(authn.User) bool {
	return func(u authn.User) bool { return strings.HasPrefix(u.Name, want) }
}

// everyResource leaves out what is not a resource, as metrics and profiles are for people, and acting as somebody else.
func everyResource(req Request) bool {
	return (req.Resource != "" && req.Verb != "impersonate") || discovery(req)
}

func oneOf(rules ...func(Request) bool) func(Request) bool {
	return func(req Request) bool {
		return slices.ContainsFunc(rules, func(rule func(Request) bool) bool { return rule(req) })
	}
}

func reads(verb string) bool { return verb == "get" || verb == "list" || verb == "watch" }

// read allows get, list and watch of "group/resource" names.
func read(resources ...string) func(Request) bool {
	return func(req Request) bool { return reads(req.Verb) && matches(req, resources) }
}

// write allows the verbs (separated by spaces) on "group/resource" or "group/resource/subresource" names.
func write(verbs string, resources ...string) func(Request) bool {
	allowed := strings.Fields(verbs)
	return func(req Request) bool { return slices.Contains(allowed, req.Verb) && matches(req, resources) }
}

func matches(req Request, resources []string) bool {
	if req.Resource == "" {
		return false
	}
	full := req.Group + "/" + req.Resource
	if req.Subresource != "" {
		full += "/" + req.Subresource
	}
	return slices.Contains(resources, full)
}

func discovery(req Request) bool {
	if req.Resource != "" || req.Verb != "get" {
		return false
	}
	return health(req) || slices.ContainsFunc([]string{"/api", "/apis", "/openapi"}, func(root string) bool {
		return req.Path == root || strings.HasPrefix(req.Path, root+"/")
	})
}

func issuer(req Request) bool {
	return req.Resource == "" && req.Verb == "get" && (req.Path == authn.DiscoveryPath || req.Path == authn.KeysPath)
}

func health(req Request) bool {
	if req.Resource != "" || req.Verb != "get" {
		return false
	}
	path := strings.TrimSuffix(req.Path, "/")
	return path == "/version" || slices.ContainsFunc([]string{"/livez", "/readyz", "/healthz"}, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}
