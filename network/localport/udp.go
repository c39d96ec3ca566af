package localport

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Limits of what datagrams can make us hold.
const (
	udpIdle    = 60 * time.Second
	maxClients = 4096
)

// clients are the sockets towards the target, one per client, so that answers find their way back.
type clients struct {
	mu   sync.Mutex
	open map[netip.AddrPort]net.Conn
}

// relay passes datagrams on and their answers back, from the very address the client had sent to.
func (s *Set) relay(now *serving, sock *socket, c *net.UDPConn) {
	askDestinations(c)
	cl := &clients{open: map[netip.AddrPort]net.Conn{}}
	defer cl.close()
	buf, oob := make([]byte, 65535), make([]byte, 128)
	for {
		n, on, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		server := cl.get(from)
		if server == nil {
			if server, err = s.dial("udp", sock.aimed()); err != nil {
				continue
			}
			if !cl.put(from, server) {
				server.Close()
				continue
			}
			reply := replyFrom(oob[:on])
			now.wg.Go(func() {
				defer cl.drop(from)
				answer(c, server, from, reply)
			})
		}
		server.Write(buf[:n])
	}
}

// answer passes answers back until none has come for a while.
func answer(c *net.UDPConn, server net.Conn, to netip.AddrPort, oob []byte) {
	buf := make([]byte, 65535)
	for {
		server.SetReadDeadline(time.Now().Add(udpIdle))
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if _, _, err := c.WriteMsgUDPAddrPort(buf[:n], oob, to); err != nil {
			return
		}
	}
}

func (c *clients) get(from netip.AddrPort) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[from]
}

func (c *clients) put(from netip.AddrPort, conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxClients {
		return false
	}
	c.open[from] = conn
	return true
}

func (c *clients) drop(from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.open[from]; conn != nil {
		conn.Close()
		delete(c.open, from)
	}
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close() // its goroutine drops it
	}
}

func isIPv6(c *net.UDPConn) bool {
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().Is6()
}

// askDestinations makes the kernel tell which address each datagram was sent to.
func askDestinations(c *net.UDPConn) {
	if isIPv6(c) {
		_ = ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst, true)
		return
	}
	_ = ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true)
}

// replyFrom turns what the kernel told into what makes an answer come from that address.
func replyFrom(oob []byte) []byte {
	var m6 ipv6.ControlMessage
	if m6.Parse(oob) == nil && m6.Dst != nil {
		return (&ipv6.ControlMessage{Src: m6.Dst}).Marshal()
	}
	var m4 ipv4.ControlMessage
	if m4.Parse(oob) == nil && m4.Dst != nil {
		return (&ipv4.ControlMessage{Src: m4.Dst}).Marshal()
	}
	return nil
}
