package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// nobody is a graph of a cluster without pods.
type nobody struct{}

func (nobody) Refers(context.Context, string, string, string, string) (bool, error) {
	return false, nil
}
func (nobody) Requester(context.Context, string) (string, error) { return "", nil }

// fixed is a graph of one pod, web, on n1; whatever is asked of the namespace "away" cannot be found out.
type fixed struct{}

func (fixed) Refers(_ context.Context, node, resource, namespace, name string) (bool, error) {
	if namespace == "away" {
		return false, errors.New("out of order")
	}
	return node == "n1" && strings.Contains(" pods/shop/web secrets/shop/key configmaps/shop/conf serviceaccounts/shop/account persistentvolumeclaims/shop/disk ",
		" "+resource+"/"+namespace+"/"+name+" "), nil
}

func (fixed) Requester(_ context.Context, name string) (string, error) {
	return map[string]string{"mine": "system:node:n1", "theirs": "system:node:n2"}[name], nil
}

// TestNodes writes down what a node may do, verb by verb: of its own, of others', and of everything at once.
func TestNodes(t *testing.T) {
	node := authn.User{Name: "system:node:n1", Groups: []string{"system:nodes", authn.GroupAuthenticated}}
	const all = "get list watch create update patch delete deletecollection"
	var out strings.Builder
	for _, c := range []struct{ verbs, what string }{
		{all, "/secrets shop/key"}, {all, "/secrets shop/other"}, {all, "/secrets away/key"}, {"list watch deletecollection", "/secrets shop/"}, {"list watch", "/secrets /"},
		{all, "/configmaps shop/conf"}, {"list watch", "/configmaps shop/"}, {all, "/persistentvolumeclaims shop/disk"},
		{all, "/serviceaccounts shop/account"}, {"create", "/serviceaccounts/token shop/account"}, {"create", "/serviceaccounts/token shop/other"},
		{all, "/pods shop/web"}, {all, "/pods shop/other"}, {"list watch deletecollection", "/pods /"},
		{"list watch deletecollection", "/pods / spec.nodeName=n1"}, {"list watch", "/pods / spec.nodeName=n2"}, {"list watch", "/pods / spec.nodeName!=n1"},
		{"list watch", "/pods shop/ spec.nodeName=n1,status.phase=Running"},
		{"get update patch", "/pods/status shop/web"}, {"get update patch", "/pods/status shop/other"}, {"create", "/pods/eviction shop/web"},
		{"create update", "/pods/binding shop/web"}, {"get create", "/pods/exec shop/web"}, {"get", "/pods/log shop/web"}, {"update patch", "/pods/ephemeralcontainers shop/web"},
		{all, "/nodes /n1"}, {all, "/nodes /n2"}, {"list watch create", "/nodes /"}, {"get update patch", "/nodes/status /n1"}, {"get update patch", "/nodes/status /n2"},
		{"get", "/nodes/proxy /n1"},
		{all, "coordination.k8s.io/leases kube-node-lease/n1"}, {all, "coordination.k8s.io/leases kube-node-lease/n2"},
		{"get create update delete", "coordination.k8s.io/leases kube-system/cuppa-controllers"}, {"list create", "coordination.k8s.io/leases kube-node-lease/"},
		{all, "certificates.k8s.io/certificatesigningrequests /mine"}, {"get list watch", "certificates.k8s.io/certificatesigningrequests /theirs"},
		{"get", "certificates.k8s.io/certificatesigningrequests /none"}, {"list", "certificates.k8s.io/certificatesigningrequests /"},
		{"get update patch", "certificates.k8s.io/certificatesigningrequests/approval /mine"}, {"update patch", "certificates.k8s.io/certificatesigningrequests/status /mine"},
		{"approve sign", "certificates.k8s.io/signers /kubernetes.io/kube-apiserver-client-kubelet"},
		{all, "/services shop/web"}, {"get update patch", "/services/status shop/web"}, {all, "discovery.k8s.io/endpointslices shop/web"},
		{all, "/events shop/e"}, {all, "events.k8s.io/events shop/e"}, {"get list", "/namespaces /shop"}, {"get", "apps/deployments shop/web"},
		{"impersonate", "/users /admin"}, {"impersonate", "/groups /system:masters"},
	} {
		fmt.Fprintf(&out, "%s\n", c.what)
		last, verbs := "", []string{}
		flush := func() {
			if len(verbs) > 0 {
				fmt.Fprintf(&out, "  %s: %s\n", strings.Join(verbs, " "), last)
			}
			verbs = nil
		}
		for _, verb := range strings.Fields(c.verbs) {
			answer := ask(node, verb, c.what)
			if answer != last {
				flush()
			}
			last, verbs = answer, append(verbs, verb)
		}
		flush()
	}
	testkit.Golden(t, "nodes.txt", out.String())
}

func ask(user authn.User, verb, what string) string {
	parts := strings.Fields(what)
	resource := strings.Split(parts[0], "/")
	req := Request{User: user, Verb: verb, Group: resource[0], Resource: resource[1], Subresource: strings.Join(resource[2:], "/")}
	req.Namespace, req.Name, _ = strings.Cut(parts[1], "/")
	if len(parts) > 2 {
		req.Selector = fields.ParseSelectorOrDie(parts[2])
	}
	decision, reason, err := Default(fixed{}).Authorize(context.Background(), req)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case reason != "":
		return decision.String() + ": " + reason
	}
	return decision.String()
}

// TestWhoIsANode: a name alone, or the group alone, makes no node.
func TestWhoIsANode(t *testing.T) {
	for _, c := range []struct {
		user authn.User
		want string
	}{
		{authn.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}, "allow"},
		{authn.User{Name: "system:node:n1"}, "no opinion"},
		{authn.User{Name: "n1", Groups: []string{"system:nodes"}}, `no opinion: unknown node for user "n1"`},
		{authn.User{Name: "system:node:", Groups: []string{"system:nodes"}}, `no opinion: unknown node for user "system:node:"`},
	} {
		if got := ask(c.user, "get", "/secrets shop/key"); got != c.want {
			t.Errorf("%s in %q: %s, want %s", c.user.Name, c.user.Groups, got, c.want)
		}
	}
}
