package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// How long other resolvers are asked, and for how long their answers are kept.
const (
	askTimeout  = 1500 * time.Millisecond
	askRounds   = 2
	maxCacheTTL = 60 * time.Second
	maxNegative = 10 * time.Second
	maxCached   = 4096
	reread      = 5 * time.Second
)

// forwarder asks the host's resolvers, keeps their answers for a while, and asks only once for equal questions at the same time.
type forwarder struct {
	cfg Config

	mu       sync.Mutex
	cache    map[cacheKey]cached
	asking   map[cacheKey]*call
	upstream []netip.AddrPort
	checked  time.Time
	modified time.Time
}

type cacheKey struct {
	name   name
	typ    uint16
	class  uint16
	dnssec bool
	cd     bool
}

type cached struct {
	msg    []byte
	stored time.Time
	until  time.Time
}

type call struct {
	done chan struct{}
	msg  []byte
}

func newForwarder(cfg Config) *forwarder {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	return &forwarder{cfg: cfg, cache: map[cacheKey]cached{}, asking: map[cacheKey]*call{}}
}

// answer returns the resolvers' answer to the question, no longer than limit.
func (f *forwarder) answer(ctx context.Context, q *question, limit int) []byte {
	key := cacheKey{name: name(q.name), typ: q.typ, class: q.class, dnssec: q.dnssec, cd: q.msg[3]&0x10 != 0}
	msg := f.lookup(key)
	if msg == nil {
		msg = f.shared(ctx, key, q)
	}
	if msg == nil {
		return q.fail(nil, rcodeServer)
	}
	return fit(q, msg, limit)
}

func (f *forwarder) lookup(key cacheKey) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.cache[key]
	if !ok {
		return nil
	}
	now := time.Now()
	if now.After(c.until) {
		delete(f.cache, key)
		return nil
	}
	return aged(c.msg, uint32(now.Sub(c.stored)/time.Second))
}

// shared asks, or waits for the one who is asking the same.
func (f *forwarder) shared(ctx context.Context, key cacheKey, q *question) []byte {
	f.mu.Lock()
	if c, ok := f.asking[key]; ok {
		f.mu.Unlock()
		select {
		case <-c.done:
			return c.msg
		case <-ctx.Done():
			return nil
		}
	}
	c := &call{done: make(chan struct{})}
	f.asking[key] = c
	f.mu.Unlock()

	c.msg = f.ask(ctx, q)
	f.mu.Lock()
	delete(f.asking, key)
	f.store(key, c.msg)
	f.mu.Unlock()
	close(c.done)
	return c.msg
}

func (f *forwarder) store(key cacheKey, msg []byte) {
	ttl := lifetime(msg)
	if ttl <= 0 {
		return
	}
	if len(f.cache) >= maxCached {
		// Any will do: the cache only saves work.
		for k := range f.cache {
			delete(f.cache, k)
			if len(f.cache) < maxCached*7/8 {
				break
			}
		}
	}
	now := time.Now()
	f.cache[key] = cached{msg: msg, stored: now, until: now.Add(ttl)}
}

// lifetime is how long an answer may be kept.
func lifetime(msg []byte) time.Duration {
	rrs, ok := records(msg)
	if !ok || msg[2]&flagTruncated != 0 {
		return 0
	}
	rcode := msg[3] & 0xf
	if rcode != rcodeOK && rcode != rcodeNoName {
		return 0
	}
	limit := maxCacheTTL
	if rcode == rcodeNoName || be16(msg[6:]) == 0 {
		limit = maxNegative
	}
	least, any := limit, false
	for _, r := range rrs {
		if r.typ == typeOPT {
			continue
		}
		any = true
		least = min(least, time.Duration(r.ttl)*time.Second)
	}
	if !any {
		return 0
	}
	return least
}

// aged is a copy of an answer whose records have become older.
func aged(msg []byte, seconds uint32) []byte {
	out := append([]byte(nil), msg...)
	rrs, _ := records(out)
	for _, r := range rrs {
		if r.typ != typeOPT {
			binary.BigEndian.PutUint32(out[r.ttlAt:], r.ttl-min(r.ttl, seconds))
		}
	}
	return out
}

// fit makes a resolver's answer the client's: its id, its spelling of the question, and no more than it can take.
func fit(q *question, msg []byte, limit int) []byte {
	if len(msg) < q.end || skipName(msg, headerLen) < 0 || be16(msg[4:]) != 1 {
		return q.fail(nil, rcodeServer)
	}
	out := append([]byte(nil), msg...)
	copy(out, q.msg[:2])
	copy(out[headerLen:q.end], q.msg[headerLen:q.end])
	rrs, ok := records(out)
	if !ok {
		return q.fail(nil, rcodeServer)
	}
	if !q.edns {
		out = withoutOPT(out, rrs)
	}
	if len(out) <= limit {
		return out
	}
	end, n := q.end, 0
	for _, r := range rrs {
		if r.section != 1 || r.nextAt+q.reserve() > limit {
			break
		}
		end, n = r.nextAt, n+1
	}
	out = out[:end]
	out[2] |= flagTruncated
	clear(out[6:headerLen])
	binary.BigEndian.PutUint16(out[6:], uint16(n))
	return q.finish(out, int(out[3]&0xf))
}

// withoutOPT takes the OPT record off for a client that sent none; it is the last record or, rarely, left where it is.
func withoutOPT(out []byte, rrs []record) []byte {
	if len(rrs) == 0 {
		return out
	}
	last := rrs[len(rrs)-1]
	if last.typ != typeOPT {
		return out
	}
	binary.BigEndian.PutUint16(out[10:], be16(out[10:])-1)
	return out[:last.ownerEnd-1]
}

// query is a question of our own.
func query(n name, typ uint16) []byte {
	b := make([]byte, headerLen, headerLen+len(n)+4+optLen)
	b[2], b[5] = flagRecursion, 1
	b = append(b, n...)
	b = binary.BigEndian.AppendUint16(b, typ)
	return binary.BigEndian.AppendUint16(b, classIN)
}

// ask sends the question to one resolver after the other. nil means that none answered.
func (f *forwarder) ask(ctx context.Context, q *question) []byte {
	upstream := f.upstreams()
	msg := query(name(q.name), q.typ)
	binary.BigEndian.PutUint16(msg[len(msg)-2:], q.class)
	msg[3] = q.msg[3] & 0x10 // checking disabled
	do := byte(0)
	if q.dnssec {
		do = 0x80
	}
	msg = append(msg, 0, 0, typeOPT, maxUDP>>8, maxUDP&0xff, 0, 0, do, 0, 0, 0)
	msg[11] = 1
	var failed []byte
	for range askRounds {
		for _, u := range upstream {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			got := f.exchange(ctx, "udp", u, msg)
			if got != nil && got[2]&flagTruncated != 0 {
				if whole := f.exchange(ctx, "tcp", u, msg); whole != nil {
					got = whole
				}
			}
			cancel()
			if got == nil {
				continue
			}
			if rcode := got[3] & 0xf; rcode == rcodeOK || rcode == rcodeNoName {
				return got
			}
			failed = got
		}
		if failed != nil || ctx.Err() != nil {
			break
		}
	}
	return failed
}

// exchange sends one question and waits for its answer; nil is any failure. Each question has a socket, and so a port, of its own:
// whoever would forge an answer has to guess it.
func (f *forwarder) exchange(ctx context.Context, network string, to netip.AddrPort, msg []byte) []byte {
	var c net.Conn
	err := f.cfg.NS.Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, to.String())
		return err
	})
	if err != nil {
		return nil
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	msg = append([]byte(nil), msg...)
	binary.BigEndian.PutUint16(msg, uint16(rand.Uint32()))
	if network == "tcp" {
		return exchangeTCP(c, msg)
	}
	if _, err := c.Write(msg); err != nil {
		return nil
	}
	buf := make([]byte, tcpMessage)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil
		}
		if answers(buf[:n], msg) {
			return append([]byte(nil), buf[:n]...)
		}
	}
}

func exchangeTCP(c net.Conn, msg []byte) []byte {
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return nil
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil
	}
	buf := make([]byte, be16(length[:]))
	if _, err := io.ReadFull(c, buf); err != nil || !answers(buf, msg) {
		return nil
	}
	return buf
}

// answers says whether a message answers our question: the same id and the same question.
func answers(got, asked []byte) bool {
	end := skipName(asked, headerLen) + 4
	return len(got) >= end && got[2]&flagResponse != 0 && got[0] == asked[0] && got[1] == asked[1] &&
		be16(got[4:]) == 1 && strings.EqualFold(string(got[headerLen:end]), string(asked[headerLen:end]))
}

// upstreams reads the host's resolvers, again when the file has changed. Our own address is not one of them.
func (f *forwarder) upstreams() []netip.AddrPort {
	if len(f.cfg.Upstreams) > 0 {
		return f.cfg.Upstreams
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < reread {
		return f.upstream
	}
	f.checked = time.Now()
	st, err := os.Stat(f.cfg.ResolvConf)
	if err != nil {
		f.upstream = nil
		return nil
	}
	if st.ModTime().Equal(f.modified) {
		return f.upstream
	}
	file, err := os.Open(f.cfg.ResolvConf)
	if err != nil {
		return f.upstream
	}
	defer file.Close()
	f.modified = st.ModTime()
	f.upstream = nameservers(file, f.cfg.Addresses)
	return f.upstream
}

// nameservers reads a resolv.conf.
func nameservers(r io.Reader, not []netip.AddrPort) []netip.AddrPort {
	var list []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue
		}
		self := false
		for _, n := range not {
			self = self || n.Addr() == a
		}
		if !self {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list
}

// spellOut returns the answer section of a message with all names written out, and its number of records.
func spellOut(msg []byte) ([]byte, uint16) {
	rrs, ok := records(msg)
	if !ok {
		return nil, 0
	}
	var out []byte
	var count uint16
	at := skipName(msg, headerLen) + 4
	for _, r := range rrs {
		if r.section != 1 {
			break
		}
		owner, ok := expand(msg, at)
		at = r.nextAt
		if !ok {
			continue
		}
		data := msg[r.dataAt:r.nextAt]
		if r.typ == typeCNAME || r.typ == typePTR || r.typ == typeNS {
			n, ok := expand(msg, r.dataAt)
			if !ok {
				continue
			}
			data = []byte(n)
		} else if r.typ != typeA && r.typ != typeAAAA && r.typ != typeTXT && r.typ != typeSRV {
			continue // it may hold compressed names in places we do not know
		}
		out = rr(out, []byte(owner), r.typ, min(r.ttl, 60), data)
		count++
	}
	return out, count
}

// expand reads a name that may be compressed.
func expand(msg []byte, at int) (name, bool) {
	var n []byte
	for range 128 { // more hops are a loop
		if at >= len(msg) {
			return "", false
		}
		l := int(msg[at])
		switch {
		case l == 0:
			return name(append(n, 0)), len(n) < 255
		case l >= 0xc0:
			if at+1 >= len(msg) {
				return "", false
			}
			at = (l&0x3f)<<8 | int(msg[at+1])
		case l > 63 || at+1+l > len(msg) || len(n) > 255:
			return "", false
		default:
			n = append(n, msg[at:at+1+l]...)
			at += 1 + l
		}
	}
	return "", false
}
