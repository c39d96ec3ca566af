package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNodeIdentity: a server's own node joins like any other, keeps what it got over a restart, and asks anew when that is no good any more.
func TestNodeIdentity(t *testing.T) {
	n := newNode(t)
	requests := func(when string, want int) {
		t.Helper()
		out := strings.TrimSpace(n.kubectl("get", "csr", "--no-headers"))
		if got := strings.Count(out, "Approved,Issued"); got != want || strings.Count(out, "\n")+1 != want {
			t.Errorf("%s:\n%s\nwant %d requests, all of them issued", when, out, want)
		}
	}
	// Logs need both ways: the node's to the API, and the API's to the node.
	answers := func(when string) {
		t.Helper()
		node := strings.TrimSpace(n.kubectl("get", "nodes", "-o", "name"))
		if out := n.kubectl("get", "--raw", "/api/v1/"+strings.Replace(node, "node/", "nodes/", 1)+"/proxy/healthz"); strings.TrimSpace(out) != "ok" {
			t.Errorf("%s: the kubelet says %q, want ok", when, out)
		}
	}
	answers("at first")
	requests("at first", 2)
	again := func(when string, change func(), want int) {
		t.Helper()
		n.cuppa("server", "stop")
		change()
		n.cuppa("server", "start")
		answers(when)
		requests(when, want)
	}
	pki := filepath.Join(n.data, "pki")
	again("after a restart", func() {}, 2)
	again("after both were damaged", func() {
		for _, name := range []string{"client.crt", "serving.key"} {
			if err := os.WriteFile(filepath.Join(pki, "node", name), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}, 4)
	again("with another authority", func() {
		for _, name := range []string{"ca.crt", "ca.key"} {
			if err := os.Remove(filepath.Join(pki, name)); err != nil {
				t.Fatal(err)
			}
		}
	}, 6)
}
