package cli

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// TestListening: who holds a port is found, by protocol and address, with the program's name; nobody's port is nobody's.
func TestListening(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	port := func(a net.Addr) int32 {
		switch a := a.(type) {
		case *net.TCPAddr:
			return int32(a.Port)
		case *net.UDPAddr:
			return int32(a.Port)
		}
		return 0
	}
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	us := fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), os.Getpid())
	found := listening([]int32{port(tcp.Addr()), port(udp.LocalAddr())})
	for _, want := range []plan.Taken{
		{Port: port(tcp.Addr()), Protocol: corev1.ProtocolTCP, HostIP: "127.0.0.1", By: us},
		{Port: port(udp.LocalAddr()), Protocol: corev1.ProtocolUDP, HostIP: "127.0.0.1", By: us},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("found %+v, want %+v among them", found, want)
		}
	}
	if got := listening([]int32{0}); got != nil { // nothing listens there
		t.Errorf("a port that nobody holds: %+v", got)
	}
}

// TestProcesses finds this very process by its cgroup, as one finds those of a container.
func TestProcesses(t *testing.T) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(groups), "\n")
	path := line[strings.LastIndexByte(line, ':')+1:]
	i := slices.IndexFunc(processes(path), func(p compose.Process) bool { return p.PID == os.Getpid() })
	if i < 0 {
		t.Fatalf("nothing is found in %q", path)
	}
	self := processes(path)[i]
	if self.PPID != os.Getppid() || self.User == "?" || !strings.Contains(self.Command, os.Args[0]) {
		t.Errorf("this process is %+v", self)
	}
	if age := time.Since(self.Started); age < -time.Minute || age > time.Hour {
		t.Errorf("it started %s ago", age)
	}
	if got := processes("no-such-container"); got != nil {
		t.Errorf("the processes of none: %+v", got)
	}
}
