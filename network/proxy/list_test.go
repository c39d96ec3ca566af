package proxy_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/network/proxy"
)

// TestTheNftCommandCanListUs guards against rules that the nft command cannot print: it aborts on them, and then lists nobody's tables.
func TestTheNftCommandCanListUs(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs the nft command")
	}
	w := newWorld(t)
	a, b := w.pod("a"), w.pod("b")
	w.sync(svc(func(s *proxy.Service) { s.Affinity, s.Ports[0].NodePort = time.Minute, 30800 }, a, b))
	must(t, w.proxy.Sync(map[string]*proxy.Service{"n/plain": {Name: "n/plain", ClusterIPs: addrs("10.43.0.6"), Ports: []proxy.Port{{Protocol: proxy.TCP, Port: 80, Endpoints: ready(a)}}}}))
	err = w.node.Do(func() error {
		out, err := exec.Command(nft, "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Errorf("nft list ruleset: %v\n%s", err, out)
		}
		for _, want := range []string{"chain lb-1 {", "chain lb-2-stay-60 {", "chain port-lb-2-stay-60 {", "10.43.0.5 . tcp . 8000"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("listing lacks %q", want)
			}
		}
		if testing.Verbose() {
			t.Log(string(out))
		}
		return nil
	})
	must(t, err)
}
