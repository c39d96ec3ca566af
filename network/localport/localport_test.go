package localport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

func newSet(t *testing.T) (*Set, *netns.NS) {
	ns := netnstest.New(t)
	s := New(Config{NS: ns})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s, ns
}

func TestServesBothFamilies(t *testing.T) {
	s, ns := newSet(t)
	netnstest.ServeName(t, ns, "127.0.0.1:9000", "target")
	netnstest.ServeNameUDP(t, ns, "127.0.0.1:9000", "target")
	to := netip.MustParseAddrPort("127.0.0.1:9000")
	if c := s.Sync([]Port{{Port: 8000, Protocol: "TCP", Target: to}, {Port: 8000, Protocol: "UDP", Target: to}, {Port: 8000, Protocol: "SCTP", Target: to}}); len(c) > 0 {
		t.Fatal(c)
	}
	for _, addr := range []string{"[::1]:8000", "127.0.0.1:8000", "127.0.0.5:8000"} {
		if name, _, err := netnstest.Ask(ns, addr); err != nil || name != "target" {
			t.Errorf("tcp %s: %q, %v", addr, name, err)
		}
		for range 3 {
			if name, _, err := netnstest.AskUDP(ns, addr); err != nil || name != "target" {
				t.Errorf("udp %s: %q, %v", addr, name, err)
			}
		}
	}
	s.Sync(nil)
	if _, err := netnstest.Dial(ns, "tcp", "127.0.0.1:8000", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want refused", err)
	}
}

func TestPassesEndsOn(t *testing.T) {
	s, ns := newSet(t)
	l := netnstest.Listen(t, ns, "127.0.0.1:9000")
	s.Sync([]Port{{Port: 8000, Protocol: "TCP", Target: netip.MustParseAddrPort("127.0.0.1:9000")}})
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c) // ends only if the client's end is passed on
		got <- string(all)
		c.Write([]byte("bye"))
	}()
	c, err := netnstest.Dial(ns, "tcp", "[::1]:8000", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	c.Write([]byte("hello"))
	c.(interface{ CloseWrite() error }).CloseWrite()
	all, err := io.ReadAll(c)
	if err != nil || string(all) != "bye" || <-got != "hello" {
		t.Errorf("got %q, %v", all, err)
	}
}

func TestTargetMoves(t *testing.T) {
	s, ns := newSet(t)
	for _, name := range []string{"9001", "9002"} {
		netnstest.ServeName(t, ns, "127.0.0.1:"+name, name)
		s.Sync([]Port{{Port: 8000, Protocol: "TCP", Target: netip.MustParseAddrPort("127.0.0.1:" + name)}})
		if got, _, err := netnstest.Ask(ns, "[::1]:8000"); err != nil || got != name {
			t.Errorf("got %q, %v; want %s", got, err, name)
		}
	}
	s.Sync([]Port{{Port: 8000, Protocol: "TCP", Target: netip.MustParseAddrPort("127.0.0.1:1")}})
	if _, _, err := netnstest.Ask(ns, "[::1]:8000"); err == nil {
		t.Error("a target that refuses: no error")
	}
}

func TestClashes(t *testing.T) {
	s, ns := newSet(t)
	self := fmt.Sprintf("process %d (localport.test)", os.Getpid())
	netnstest.Listen(t, ns, "127.0.0.1:8001")
	netnstest.Listen(t, ns, "[::1]:8002")
	netnstest.ListenUDP(t, ns, "0.0.0.0:8003")
	one := netip.MustParseAddr("127.0.0.1")
	got := s.Sync([]Port{
		{Port: 8000, Protocol: "TCP"}, {Port: 8001, Protocol: "TCP"}, {Port: 8002, Protocol: "TCP"}, {Port: 8003, Protocol: "UDP"},
		{Port: 8003, Protocol: "TCP"}, {Addr: one, Port: 8002, Protocol: "TCP"}, {Addr: netip.MustParseAddr("192.0.2.99"), Port: 8004, Protocol: "TCP"},
	})
	var reasons []string
	for _, c := range got {
		reasons = append(reasons, strings.ReplaceAll(c.Reason, self, "SELF"))
	}
	want := []string{
		"port 8001/TCP is in use by SELF",
		"port 8002/TCP is in use by SELF",
		"port 8003/UDP is in use by SELF",
		"port 192.0.2.99:8004/TCP cannot be published: this node does not have the address 192.0.2.99",
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The failed ones hold nothing: no half-open port.
	if _, err := netnstest.Dial(ns, "tcp", "[::1]:8001", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("half of a clashing port is open: %v", err)
	}
	if again := s.Sync([]Port{{Port: 8000, Protocol: "TCP"}}); len(again) > 0 {
		t.Errorf("a port that is held already clashes: %v", again)
	}
}

func TestRunClosesEverything(t *testing.T) {
	ns := netnstest.New(t)
	netnstest.ServeName(t, ns, "127.0.0.1:9000", "target")
	for range 2 { // the port is free again at once, though a connection was open
		s := New(Config{NS: ns})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		if c := s.Sync([]Port{{Port: 8000, Protocol: "TCP", Target: netip.MustParseAddrPort("127.0.0.1:9000")}}); len(c) > 0 {
			t.Fatal(c)
		}
		c, err := netnstest.Dial(ns, "tcp", "[::1]:8000", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 1))
		cancel()
		wg.Wait()
		c.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("connection is still open")
		}
		c.Close()
	}
}

// TestLateSync: who asks for a port when the set has ended gets none, and leaves none held.
func TestLateSync(t *testing.T) {
	ns := netnstest.New(t)
	s := New(Config{NS: ns})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	port := Port{Port: 8000, Protocol: "TCP", Target: netip.MustParseAddrPort("127.0.0.1:9000")}
	if clashes := s.Sync([]Port{port}); len(clashes) > 0 || len(s.open) > 0 {
		t.Errorf("after the end: %v, %d ports held", clashes, len(s.open))
	}
	if _, err := netnstest.Dial(ns, "tcp", "127.0.0.1:8000", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port: %v, want refused", err)
	}
}
