package dns

import (
	"encoding/binary"
	"net/netip"
)

// The few numbers of the protocol that are needed.
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeOPT   = 41
	typeANY   = 255

	classIN  = 1
	classANY = 255

	rcodeOK       = 0
	rcodeFormat   = 1
	rcodeServer   = 2
	rcodeNoName   = 3
	rcodeNotImpl  = 4
	rcodeRefused  = 5
	rcodeBadVers  = 16
	headerLen     = 12
	questionStart = headerLen
	optLen        = 11

	flagResponse  = 0x80
	flagAuthority = 0x04
	flagTruncated = 0x02
	flagRecursion = 0x01
	flagAvailable = 0x80 // second byte
)

// maxUDP is what an answer over UDP may be at most, whatever the client says it can take: more is fragmented on some path.
const maxUDP = 1232

// question is one parsed request.
type question struct {
	msg    []byte // the request
	name   []byte // lower-cased, in the buffer given to parse
	typ    uint16
	class  uint16
	end    int // behind the question in msg
	edns   bool
	ednsV  byte
	dnssec bool
	size   int // what the client can take over UDP
}

// parse reads a request with one question and at most an OPT record. buf (255 bytes) receives the name.
// rcode is not rcodeOK if the request deserves an error; ok is false if it deserves no answer at all.
func parse(msg, buf []byte) (q question, rcode int, ok bool) {
	if len(msg) < headerLen || msg[2]&flagResponse != 0 {
		return q, 0, false
	}
	q.msg, q.size = msg, 512
	if msg[2]&0x78 != 0 {
		return q, rcodeNotImpl, true
	}
	if be16(msg[4:]) != 1 || be16(msg[6:]) != 0 || be16(msg[8:]) != 0 || be16(msg[10:]) > 1 {
		return q, rcodeFormat, true
	}
	at, n := headerLen, 0
	for {
		if at >= len(msg) {
			return q, rcodeFormat, true
		}
		l := int(msg[at])
		if l > 63 || at+1+l > len(msg) || n+1+l > 255 {
			return q, rcodeFormat, true
		}
		buf[n] = byte(l)
		for i := 1; i <= l; i++ {
			c := msg[at+i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			buf[n+i] = c
		}
		at, n = at+1+l, n+1+l
		if l == 0 {
			break
		}
	}
	if at+4 > len(msg) {
		return q, rcodeFormat, true
	}
	q.name, q.typ, q.class, q.end = buf[:n], be16(msg[at:]), be16(msg[at+2:]), at+4
	if be16(msg[10:]) == 1 {
		return q.parseOPT(msg[q.end:])
	}
	return q, rcodeOK, true
}

func (q question) parseOPT(rr []byte) (question, int, bool) {
	if len(rr) < optLen || rr[0] != 0 || be16(rr[1:]) != typeOPT || optLen+int(be16(rr[9:])) > len(rr) {
		return q, rcodeFormat, true
	}
	q.edns, q.ednsV, q.dnssec = true, rr[6], rr[7]&0x80 != 0
	q.size = min(max(int(be16(rr[3:])), 512), maxUDP)
	if q.ednsV != 0 {
		return q, rcodeBadVers, true
	}
	return q, rcodeOK, true
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// answer begins an answer in out: the client's id and question, our flags. Counts are set by finish.
func (q *question) answer(out []byte, rcode int) []byte {
	end := max(q.end, headerLen)
	out = append(out[:0], q.msg[:end]...)
	out[2] = flagResponse | q.msg[2]&flagRecursion | q.msg[2]&0x78
	out[3] = flagAvailable | byte(rcode&0xf)
	clear(out[6:headerLen])
	if q.end == 0 {
		out[4], out[5] = 0, 0
	}
	return out
}

// finish adds our OPT record if the client sent one.
func (q *question) finish(out []byte, rcode int) []byte {
	if !q.edns {
		return out
	}
	out = append(out, 0, 0, typeOPT, maxUDP>>8, maxUDP&0xff, byte(rcode>>4), 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(out[10:], be16(out[10:])+1)
	return out
}

// fail is an answer that only says what went wrong.
func (q *question) fail(out []byte, rcode int) []byte {
	return q.finish(q.answer(out, rcode), rcode)
}

// rr appends a record whose owner is given in packed form: a name, or a pointer to one.
func rr(b, owner []byte, typ uint16, ttl uint32, data []byte) []byte {
	b = append(b, owner...)
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, classIN)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// toQuestion is a compression pointer to the question's name.
func toQuestion() []byte { return []byte{0xc0, questionStart} }

func addrType(a netip.Addr) uint16 {
	if a.Is4() {
		return typeA
	}
	return typeAAAA
}

func srvData(port uint16, target name) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 100}, port) // priority 0, weight 100
	return append(b, target...)
}

// soaData says who answers for the zone, and that a missing name may be remembered for TTL seconds.
func soaData(zone name) []byte {
	b := append([]byte(zone.under("dns").under("ns")), zone.under("hostmaster")...)
	for _, n := range []uint32{1, 7200, 1800, 86400, TTL} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// skipName returns the offset behind a name in a message, or -1.
func skipName(msg []byte, at int) int {
	for at >= 0 && at < len(msg) {
		switch l := int(msg[at]); {
		case l == 0:
			return at + 1
		case l >= 0xc0:
			return at + 2
		case l > 63:
			return -1
		default:
			at += 1 + l
		}
	}
	return -1
}

// record is a record of a foreign message.
type record struct {
	typ      uint16
	ttlAt    int
	ttl      uint32
	dataAt   int
	dataLen  int
	section  int // 1: answer, 2: authority, 3: additional
	nextAt   int
	ownerEnd int
}

// records lists a message's records; ok is false if the message is malformed.
func records(msg []byte) (all []record, ok bool) {
	if len(msg) < headerLen {
		return nil, false
	}
	at := headerLen
	for range be16(msg[4:]) {
		if at = skipName(msg, at); at < 0 || at+4 > len(msg) {
			return nil, false
		}
		at += 4
	}
	for section := 1; section <= 3; section++ {
		for range be16(msg[4+2*section:]) {
			end := skipName(msg, at)
			if end < 0 || end+10 > len(msg) {
				return nil, false
			}
			r := record{typ: be16(msg[end:]), ttlAt: end + 4, ttl: binary.BigEndian.Uint32(msg[end+4:]), dataAt: end + 10, section: section, ownerEnd: end}
			r.dataLen = int(be16(msg[end+8:]))
			r.nextAt = r.dataAt + r.dataLen
			if r.nextAt > len(msg) {
				return nil, false
			}
			all = append(all, r)
			at = r.nextAt
		}
	}
	return all, true
}
