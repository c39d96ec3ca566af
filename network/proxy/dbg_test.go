package proxy_test

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/network/netns/netnstest"
	"github.com/cuppa-project/cuppa/network/proxy"
)

func TestDbg(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a")
	w.sync(svc(func(s *proxy.Service){ s.Affinity=time.Minute; s.Ports[0].NodePort=30800}, a))
	sh := func(cmd string) {
		w.node.Do(func() error {
			out, err := exec.Command("sh", "-c", cmd).CombinedOutput()
			fmt.Println("$", cmd, err)
			fmt.Println(string(out))
			return nil
		})
	}
	sh("ip route; ip route get 10.43.0.5; ip addr show lo; cat /proc/sys/net/ipv4/conf/*/rp_filter | tr '\n' ' '")
	go netnstest.Dial(w.node, "tcp", "10.43.0.5:8000", time.Second)
	time.Sleep(300 * time.Millisecond)
	sh("nft list ruleset; for c in lb-1-stay-60 port-lb-1-stay-60 service-rules lb-1 port-lb-1 guard nat-postrouting refuse; do nft list chain ip cuppa-test $c 2>&1 || echo BAD $c; done")
}
