package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
)

// Config describes a server.
type Config struct {
	// NS is the node's network namespace; nil is the process's own.
	NS *netns.NS
	// Addresses to answer on. They are bound one by one: an answer from another address than was asked is thrown away by the client.
	Addresses []netip.AddrPort
	Zone      *Zone
	// Ranges are the cluster's pod and Service ranges: reverse names in them are never asked elsewhere.
	Ranges []netip.Prefix
	// ResolvConf names the file with the resolvers for all other names. Default /etc/resolv.conf. It is read again when it changes.
	ResolvConf string
	// Upstreams, if given, are asked instead of those in ResolvConf.
	Upstreams []netip.AddrPort
	// Sockets per address. Default: one per processor.
	Sockets int
	Log     *slog.Logger
}

// Server answers questions. Its sockets are open from New on.
type Server struct {
	cfg     Config
	forward *forwarder
	udp     []*net.UDPConn
	tcp     []net.Listener
	slow    chan struct{} // bounds questions that wait for a resolver
}

// Limits of what clients can make the server hold.
const (
	maxWaiting = 1024
	maxTCP     = 256
	tcpIdle    = 10 * time.Second
	tcpMessage = 65535
)

// New opens the server's sockets. An address in use is an error of kind Exists.
func New(cfg Config) (*Server, error) {
	if len(cfg.Addresses) == 0 || cfg.Zone == nil {
		return nil, errkind.New(errkind.Invalid, "open DNS server: no address or no zone given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Sockets == 0 {
		cfg.Sockets = runtime.GOMAXPROCS(0)
	}
	s := &Server{cfg: cfg, forward: newForwarder(cfg), slow: make(chan struct{}, maxWaiting)}
	if err := cfg.NS.Do(s.listen); err != nil {
		s.close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, errkind.New(errkind.Exists, "open DNS server: %w", err)
		}
		return nil, fmt.Errorf("open DNS server: %w", err)
	}
	return s, nil
}

// prepare lets several sockets share an address: those of one server, and those of the server that takes over from it. The address may be bound
// before the node has it.
func prepare(_, _ string, c syscallConn) error {
	var opt error
	if err := c.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) // serves IPv6 sockets too
	}); err != nil {
		return err
	}
	return opt
}

func (s *Server) listen() error {
	shared := net.ListenConfig{Control: prepare}
	for _, addr := range s.cfg.Addresses {
		for range s.cfg.Sockets {
			c, err := shared.ListenPacket(context.Background(), "udp", addr.String())
			if err != nil {
				return err
			}
			s.udp = append(s.udp, c.(*net.UDPConn))
		}
		l, err := shared.Listen(context.Background(), "tcp", addr.String())
		if err != nil {
			return err
		}
		s.tcp = append(s.tcp, l)
	}
	return nil
}

func (s *Server) close() {
	for _, c := range s.udp {
		c.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
}

// Close frees the sockets of a server that does not run.
func (s *Server) Close() { s.close() }

// Run answers until ctx ends, and closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range s.udp {
		wg.Go(func() { s.serveUDP(ctx, c, &wg) })
	}
	for _, l := range s.tcp {
		wg.Go(func() { s.serveTCP(ctx, l, &wg) })
	}
	<-ctx.Done()
	for _, c := range s.udp {
		s.retire(c)
	}
	for _, l := range s.tcp {
		l.Close()
	}
	wg.Wait()
	s.close()
	return nil
}

// discardPort is where no question ever comes from.
const discardPort = 9

// drainFor is how long a socket that takes no new questions is given to answer those it has.
const drainFor = 20 * time.Millisecond

// retire leaves new questions to the sockets of a successor: one that has a peer is not given datagrams of others. What has come in already is still
// answered, for a client whose question is lost waits for seconds.
func (s *Server) retire(c *net.UDPConn) {
	own := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	var peer unix.Sockaddr = &unix.SockaddrInet6{Port: discardPort, Addr: own.As16()}
	if own.Is4() {
		peer = &unix.SockaddrInet4{Port: discardPort, Addr: own.As4()}
	}
	if raw, err := c.SyscallConn(); err == nil {
		// Should it fail, the rest of the questions is lost, as they would be without.
		_ = raw.Control(func(fd uintptr) { _ = unix.Connect(int(fd), peer) })
	}
	c.SetReadDeadline(time.Now().Add(drainFor))
}

// serveUDP answers questions about the cluster in its own loop; those that need another resolver get a goroutine.
func (s *Server) serveUDP(ctx context.Context, c *net.UDPConn, wg *sync.WaitGroup) {
	b, err := newBatcher(c)
	if err != nil {
		s.cfg.Log.Error("read DNS socket", "err", err)
		return
	}
	var nameBuf [256]byte
	for {
		n, err := b.read()
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Log.Error("read DNS socket", "err", err)
			}
			return
		}
		for i := range n {
			q, rcode, ok := parse(b.request(i), nameBuf[:])
			switch {
			case !ok:
				b.skip(i)
			case rcode != rcodeOK:
				b.reply(i, q.fail(b.buffer(i), rcode))
			default:
				out, v := s.cfg.Zone.local(&q, b.buffer(i), q.size, s.cfg.Ranges)
				if v == answered {
					b.reply(i, out)
					continue
				}
				s.later(ctx, c, q, b.client(i), v, wg)
				b.skip(i)
			}
		}
		b.flush()
	}
}

// later answers over UDP once a resolver has.
func (s *Server) later(ctx context.Context, c *net.UDPConn, q question, client netip.AddrPort, v verdict, wg *sync.WaitGroup) {
	select {
	case s.slow <- struct{}{}:
	default:
		return // the client asks again
	}
	q = q.own()
	wg.Go(func() {
		defer func() { <-s.slow }()
		out := s.resolve(ctx, &q, v, q.size)
		if _, err := c.WriteToUDPAddrPort(out, client); err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("send DNS answer", "err", err)
		}
	})
}

// own copies a question out of shared buffers.
func (q question) own() question {
	q.msg = append([]byte(nil), q.msg...)
	q.name = append([]byte(nil), q.name...)
	return q
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener, wg *sync.WaitGroup) {
	seats := make(chan struct{}, maxTCP)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.cfg.Log.Error("accept DNS connection", "err", err)
			continue
		}
		select {
		case seats <- struct{}{}:
		default:
			c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { c.Close(); <-seats }()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.serveConn(ctx, c)
		})
	}
}

func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	var nameBuf [256]byte
	var length [2]byte
	var msg, out []byte
	for {
		c.SetDeadline(time.Now().Add(tcpIdle))
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		msg = append(msg[:0], make([]byte, be16(length[:]))...)
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		q, rcode, ok := parse(msg, nameBuf[:])
		if !ok {
			return
		}
		if rcode != rcodeOK {
			out = q.fail(out, rcode)
		} else {
			var v verdict
			if out, v = s.cfg.Zone.local(&q, out, tcpMessage, s.cfg.Ranges); v != answered {
				out = s.resolve(ctx, &q, v, tcpMessage)
			}
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

// resolve answers a question that needs a resolver: about a foreign name, or about a name of ours that stands for one.
func (s *Server) resolve(ctx context.Context, q *question, v verdict, limit int) []byte {
	if v == elsewhere {
		return s.forward.answer(ctx, q, limit)
	}
	e := s.cfg.Zone.find(q.name)
	if e == nil || e.cname == "" {
		out, _ := s.cfg.Zone.local(q, nil, limit, s.cfg.Ranges)
		return out
	}
	out := q.answer(nil, rcodeOK)
	out[2] |= flagAuthority
	out = rr(out, toQuestion(), typeCNAME, TTL, []byte(e.cname))
	count := uint16(1)
	if q.typ != typeCNAME {
		more, n := s.target(ctx, q, e.cname)
		if len(out)+len(more)+q.reserve() <= limit {
			out, count = append(out, more...), count+n
		} else {
			out[2] |= flagTruncated
		}
	}
	binary.BigEndian.PutUint16(out[6:], count)
	return q.finish(out, rcodeOK)
}

// target looks up what a name stands for, with all names written out, so that the records fit into another message. What cannot be found
// is left out: the client still learns the name.
func (s *Server) target(ctx context.Context, q *question, target name) ([]byte, uint16) {
	ask := query(target, q.typ)
	var buf [256]byte
	sub, rcode, ok := parse(ask, buf[:])
	if !ok || rcode != rcodeOK {
		return nil, 0
	}
	sub.size = tcpMessage
	out, v := s.cfg.Zone.local(&sub, nil, tcpMessage, s.cfg.Ranges)
	if v == chase {
		return nil, 0 // one step inside the cluster is what a Service may take
	}
	if v == elsewhere {
		out = s.forward.answer(ctx, &sub, tcpMessage)
	}
	return spellOut(out)
}
