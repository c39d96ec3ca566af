// Package netnstest gives tests network namespaces that are thrown away, and clients and servers that live in them.
//
// It is for tests only; nothing of it touches the namespace the test runs in. Start with New.
package netnstest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/cuppa-project/cuppa/internal/testkit/leak"
	"github.com/cuppa-project/cuppa/network/netns"
)

// New returns a fresh namespace with lo up and no uplink, gone when the test ends. It skips the test without root.
func New(t testing.TB) *netns.NS {
	t.Helper()
	leak.Root(t, "network namespaces are made")
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	h := Handle(t, ns)
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatalf("find lo: %v", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
	return ns
}

// Handle returns a netlink handle inside the namespace, closed when the test ends.
func Handle(t testing.TB, ns *netns.NS) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD()))
	if err != nil {
		t.Fatalf("open netlink: %v", err)
	}
	t.Cleanup(h.Close)
	return h
}

// Do runs fn inside the namespace and fails the test on its error.
func Do(t testing.TB, ns *netns.NS, fn func() error) {
	t.Helper()
	if err := ns.Do(fn); err != nil {
		t.Fatal(err)
	}
}

// Listen opens a TCP listener in the namespace, closed when the test ends.
func Listen(t testing.TB, ns *netns.NS, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	Do(t, ns, func() (err error) { l, err = net.Listen("tcp", addr); return err })
	t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP opens a UDP socket in the namespace, closed when the test ends.
func ListenUDP(t testing.TB, ns *netns.NS, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	Do(t, ns, func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	t.Cleanup(func() { c.Close() })
	return c
}

// Dial connects from inside the namespace.
func Dial(ns *netns.NS, network, addr string, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	err := ns.Do(func() (err error) {
		c, err = (&net.Dialer{Timeout: timeout}).DialContext(context.Background(), network, addr)
		return err
	})
	return c, err
}

// ServeName answers every TCP connection to l with "name client-address\n", then echoes lines. Connections that are still open when the
// test ends are closed: the other end of one whose network has gone never says so.
func ServeName(t testing.TB, ns *netns.NS, addr, name string) net.Listener {
	l := Listen(t, ns, addr)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				defer stop()
				defer c.Close()
				fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr().(*net.TCPAddr).IP)
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

// ServeNameUDP answers every datagram with "name client-address".
func ServeNameUDP(t testing.TB, ns *netns.NS, addr, name string) {
	c := ListenUDP(t, ns, addr)
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(fmt.Sprintf("%s %s", name, from.(*net.UDPAddr).IP)), from)
		}
	}()
}

// Ask connects and returns the name and client address that ServeName sends.
func Ask(ns *netns.NS, addr string) (name, client string, err error) {
	c, err := Dial(ns, "tcp", addr, 2*time.Second)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", "", err
	}
	_, err = fmt.Sscan(line, &name, &client)
	return name, client, err
}

// AskUDP sends one datagram and returns the name and client address that ServeNameUDP sends.
func AskUDP(ns *netns.NS, addr string) (name, client string, err error) {
	c, err := Dial(ns, "udp", addr, 2*time.Second)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return AskOn(c)
}

// AskOn is AskUDP on a socket that is open already.
func AskOn(c net.Conn) (name, client string, err error) {
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", "", err
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return "", "", err
	}
	_, err = fmt.Sscan(string(buf[:n]), &name, &client)
	return name, client, err
}
