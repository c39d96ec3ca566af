package hostfw

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/podnet"
)

// pods makes two pods, 10.42.0.2 and 10.42.0.3.
func pods(t *testing.T, ns *netns.NS) (a, b *netns.NS) {
	t.Helper()
	dir := t.TempDir()
	n, err := podnet.New(podnet.Config{
		NS: ns, RunDir: filepath.Join(dir, "run"), DataDir: dir, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Cleanup(); err != nil {
			t.Error(err)
		}
		n.Close()
	})
	var made []*netns.NS
	for _, ip := range []string{"10.42.0.2", "10.42.0.3"} {
		at, err := n.Setup(t.Context(), podnet.Pod{ID: ip})
		if err != nil {
			t.Fatal(err)
		}
		if at.IPs[0].String() != ip {
			t.Fatalf("pod has %s, want %s", at.IPs[0], ip)
		}
		pod, err := netns.Open(at.NetNS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pod.Close() })
		made = append(made, pod)
	}
	return made[0], made[1]
}
