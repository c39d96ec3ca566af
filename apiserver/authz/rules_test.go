package authz

import (
	"context"
	"strings"
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/authn"
)

// TestDefault asks the table: who, verb, "group/resource[/subresource]" or a path, name, and whether it is allowed.
func TestDefault(t *testing.T) {
	users := map[string]authn.User{
		"admin":      {Name: "admin", Groups: []string{"system:masters", authn.GroupAuthenticated}},
		"node":       {Name: "system:node:n1", Groups: []string{"system:nodes", authn.GroupAuthenticated}},
		"scheduler":  {Name: "system:kube-scheduler", Groups: []string{authn.GroupAuthenticated}},
		"controller": {Name: "system:controller:deployment", Groups: []string{authn.GroupAuthenticated}},
		"account":    {Name: "system:serviceaccount:default:default", Groups: []string{authn.GroupAuthenticated}},
		"anyone":     {Name: "system:anonymous", Groups: []string{authn.GroupUnauthenticated}},
		"compose":    {Name: "compose", Groups: []string{"cuppa:compose", authn.GroupAuthenticated}},
		"joiner":     {Name: "system:bootstrap:abc", Groups: []string{"system:bootstrappers", authn.GroupAuthenticated}},
		"impostor":   {Name: "system:node:n1", Groups: []string{authn.GroupAuthenticated}},
	}
	for _, c := range []struct {
		who, verb, what, name string
		want                  bool
	}{
		{"admin", "delete", "/secrets", "s", true},
		{"admin", "get", "path:/metrics", "", true},
		{"admin", "impersonate", "/users", "x", true},
		{"node", "update", "/pods/status", "p", true},
		{"node", "create", "/nodes", "", true},
		{"node", "patch", "/nodes/status", "n1", true},
		{"node", "patch", "/nodes/status", "n2", false},
		{"node", "delete", "/nodes", "n1", false},
		{"node", "create", "/secrets", "", false},
		{"node", "update", "apps/deployments", "d", false},
		{"node", "get", "path:/metrics", "", false},
		{"node", "create", "certificates.k8s.io/certificatesigningrequests", "", true},
		{"node", "approve", "certificates.k8s.io/signers", "kubernetes.io/kubelet-serving", false},
		{"joiner", "create", "certificates.k8s.io/certificatesigningrequests", "", true},
		{"joiner", "watch", "certificates.k8s.io/certificatesigningrequests", "", true},
		{"joiner", "update", "certificates.k8s.io/certificatesigningrequests/approval", "r", false},
		{"joiner", "approve", "certificates.k8s.io/signers", "kubernetes.io/kube-apiserver-client-kubelet", false},
		{"joiner", "get", "/nodes", "n1", false},
		{"controller", "sign", "certificates.k8s.io/signers", "kubernetes.io/kubelet-serving", true},
		{"impostor", "list", "/pods", "", false},
		{"scheduler", "create", "/pods/binding", "p", true},
		{"scheduler", "list", "apps/replicasets", "", true},
		{"scheduler", "update", "/pods", "p", false},
		{"scheduler", "list", "/secrets", "", false},
		{"scheduler", "create", "/secrets", "", false},
		{"controller", "create", "apps/replicasets", "", true},
		{"controller", "get", "path:/metrics", "", false},
		{"controller", "impersonate", "/users", "admin", false},
		{"admin", "impersonate", "/groups", "system:nodes", true},
		{"admin", "impersonate", "/groups", "cuppa:compose", false},
		{"compose", "impersonate", "/groups", "cuppa:compose", false},
		{"compose", "patch", "apps/deployments", "web", true},
		{"compose", "create", "/pods/exec", "web", true},
		{"compose", "get", "/pods/log", "web", true},
		{"compose", "list", "/services", "", true},
		{"compose", "update", "apps/deployments/scale", "web", false},
		{"compose", "create", "/serviceaccounts/token", "default", false},
		{"compose", "delete", "/nodes", "n1", false},
		{"account", "get", "path:/apis/apps/v1", "", true},
		{"account", "get", "path:/openapi/v3", "", true},
		{"account", "get", "/pods", "p", false},
		{"anyone", "get", "path:/version", "", true},
		{"anyone", "get", "path:/readyz/etcd", "", true},
		{"anyone", "get", "path:/api", "", false},
		{"anyone", "post", "path:/version", "", false},
		{"anyone", "get", "path:/versions", "", false},
	} {
		req := Request{User: users[c.who], Verb: c.verb, Name: c.name}
		if path, ok := strings.CutPrefix(c.what, "path:"); ok {
			req.Path = path
		} else {
			parts := strings.Split(c.what, "/")
			req.Group, req.Resource = parts[0], parts[1]
			if len(parts) > 2 {
				req.Subresource = parts[2]
			}
		}
		if got := May(context.Background(), Default(nobody{}), req) == nil; got != c.want {
			t.Errorf("%s may %s %s %q: %v, want %v", c.who, c.verb, c.what, c.name, got, c.want)
		}
	}
}
