// Package localport holds the ports of the node that are published, each by a listening socket.
//
// The socket reserves the port, so that a clash is found when a port is published and the owner can be named; and it serves what the kernel's tables
// cannot translate, above all [::1], by copying. Connections that the tables do translate (see network/proxy) never reach it, and go
// on working when this process is gone. Start with Set.
package localport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/network/netns"
)

// Port is one published port.
type Port struct {
	Addr     netip.Addr // the zero Addr: all addresses of the node
	Port     uint16
	Protocol string         // TCP, UDP or SCTP (which is only remembered: there is no SCTP socket to hold)
	Target   netip.AddrPort // where connections that arrive here are sent
}

// key is a port without its target.
func (p Port) key() Port { p.Target = netip.AddrPort{}; return p }

func (p Port) String() string {
	if p.Addr.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.Addr, p.Port), p.Protocol)
	}
	return fmt.Sprintf("%d/%s", p.Port, p.Protocol)
}

// Clash is a port that cannot be had, and why.
type Clash struct {
	Port
	Reason string
}

// Config describes a set of ports.
type Config struct {
	// NS is the node's network namespace; nil is the process's own.
	NS  *netns.NS
	Log *slog.Logger
}

// Set holds ports open. Sync changes which; Run serves them.
type Set struct {
	cfg Config

	mu      sync.Mutex
	open    map[Port]*socket
	serving *serving // nil while Run does not run
	ended   bool     // Run has ended: nobody would close what were opened now
}

// serving is what goroutines of one Run share.
type serving struct {
	wg   sync.WaitGroup
	done chan struct{}
}

// New returns an empty set.
func New(cfg Config) *Set {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{cfg: cfg, open: map[Port]*socket{}}
}

// socket is one held port: a listener per address family.
type socket struct {
	mu     sync.Mutex
	target netip.AddrPort
	tcp    []net.Listener
	udp    []*net.UDPConn
}

func (s *socket) aim(at netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = at
}

func (s *socket) aimed() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target
}

func (s *socket) close() {
	for _, l := range s.tcp {
		l.Close()
	}
	for _, c := range s.udp {
		c.Close()
	}
}

// Sync opens and closes ports until exactly the wanted ones are held, and returns those that cannot be had, in order. Ports held already
// are not touched. After Run has ended it does nothing: a caller that is a moment late leaves no port behind.
func (s *Set) Sync(want []Port) []Clash {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	wanted := map[Port]Port{}
	for _, p := range want {
		wanted[p.key()] = p
	}
	for key, sock := range s.open {
		if _, ok := wanted[key]; !ok {
			sock.close()
			delete(s.open, key)
		}
	}
	var clashes []Clash
	for _, key := range slices.SortedFunc(maps.Keys(wanted), compare) {
		p := wanted[key]
		if sock := s.open[key]; sock != nil {
			sock.aim(p.Target)
			continue
		}
		sock, err := s.listen(p)
		if err != nil {
			clashes = append(clashes, Clash{Port: p, Reason: s.explain(p, err)})
			continue
		}
		s.open[key] = sock
		if s.serving != nil {
			s.serve(s.serving, sock)
		}
	}
	return clashes
}

func compare(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.Addr.Compare(b.Addr))
}

func (s *Set) explain(p Port, err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf("port %s is in use by %s", p, holder(s.cfg.NS, p))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Sprintf("port %s cannot be published: this node does not have the address %s", p, p.Addr)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Sprintf("port %s cannot be published: permission denied (root, or CAP_NET_BIND_SERVICE, is needed)", p)
	}
	return fmt.Sprintf("port %s cannot be published: %v", p, err)
}

// listen opens a port in both families, or in that of its address. A machine without IPv6 does without.
func (s *Set) listen(p Port) (*socket, error) {
	sock := &socket{target: p.Target}
	err := s.cfg.NS.Do(func() error {
		if p.Addr.IsValid() {
			return sock.listen(p, "", p.Addr)
		}
		if err := sock.listen(p, "4", netip.IPv4Unspecified()); err != nil {
			return err
		}
		err := sock.listen(p, "6", netip.IPv6Unspecified())
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil
		}
		return err
	})
	if err != nil {
		sock.close()
		return nil, err
	}
	return sock, nil
}

func (s *socket) listen(p Port, family string, addr netip.Addr) error {
	at := netip.AddrPortFrom(addr, p.Port)
	switch p.Protocol {
	case "TCP":
		l, err := net.Listen("tcp"+family, at.String())
		if err == nil {
			s.tcp = append(s.tcp, l)
		}
		return err
	case "UDP":
		c, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at))
		if err == nil {
			s.udp = append(s.udp, c)
		}
		return err
	}
	return nil
}

// Run serves the ports until ctx ends, then closes them all.
func (s *Set) Run(ctx context.Context) error {
	now := &serving{done: make(chan struct{})}
	s.mu.Lock()
	s.serving, s.ended = now, false
	for _, sock := range s.open {
		s.serve(now, sock)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.serving, s.ended = nil, true
	for key, sock := range s.open {
		sock.close()
		delete(s.open, key)
	}
	s.mu.Unlock()
	close(now.done)
	now.wg.Wait()
	return nil
}

func (s *Set) serve(now *serving, sock *socket) {
	for _, l := range sock.tcp {
		now.wg.Go(func() { s.accept(now, sock, l) })
	}
	for _, c := range sock.udp {
		now.wg.Go(func() { s.relay(now, sock, c) })
	}
}

func (s *Set) accept(now *serving, sock *socket, l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.cfg.Log.Error("accept on published port", "port", l.Addr().String(), "err", err)
			select {
			case <-now.done:
				return
			case <-time.After(100 * time.Millisecond): // out of descriptors, most likely
			}
			continue
		}
		now.wg.Go(func() { s.join(now, sock, c) })
	}
}

// join copies between a client and the target in both directions, until both have ended or the set is closed.
func (s *Set) join(now *serving, sock *socket, client net.Conn) {
	defer client.Close()
	server, err := s.dial("tcp", sock.aimed())
	if err != nil {
		// The client sees what it would have seen without us: a reset.
		s.cfg.Log.Debug("connect to the target of a published port", "target", sock.aimed().String(), "err", err)
		client.(*net.TCPConn).SetLinger(0)
		return
	}
	defer server.Close()
	finished := make(chan struct{})
	now.wg.Go(func() {
		select {
		case <-now.done:
			client.Close()
			server.Close()
		case <-finished:
		}
	})
	defer close(finished)
	var both sync.WaitGroup
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
}

// pipe copies one direction and passes its end on; after an error, the other direction has no use either.
func pipe(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err != nil {
		to.Close()
		from.Close()
		return
	}
	to.(*net.TCPConn).CloseWrite()
}

func (s *Set) dial(network string, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := s.cfg.NS.Do(func() (err error) {
		c, err = net.DialTimeout(network, to.String(), 5*time.Second)
		return err
	})
	return c, err
}
