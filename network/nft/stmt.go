package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Reg is a register of 4 bytes, counted from 0. A key or data occupies as many in a row as it is long.
type Reg int

const verdictReg = 0

// number is the register as expressions name it.
func (r Reg) number() uint32 { return unix.NFT_REG32_00 + uint32(r) }

// Field is a part of a packet that a key is made of.
type Field struct {
	text string
	load func(f Family, at Reg) expr.Any
	regs func(f Family) int
}

func oneReg(Family) int     { return 1 }
func addrRegs(f Family) int { return f.AddrLen() / 4 }

// Saddr is the packet's source address.
func Saddr() Field { return addrField("saddr", 12, 8) }

// Daddr is the packet's destination address.
func Daddr() Field { return addrField("daddr", 16, 24) }

func addrField(name string, at4, at6 uint32) Field {
	return Field{text: name, regs: addrRegs, load: func(f Family, at Reg) expr.Any {
		offset := at4
		if f == IPv6 {
			offset = at6
		}
		return &expr.Payload{DestRegister: at.number(), Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.AddrLen())}
	}}
}

// L4Proto is the packet's transport protocol.
func L4Proto() Field {
	return Field{text: "meta l4proto", regs: oneReg, load: func(_ Family, at Reg) expr.Any {
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at.number()}
	}}
}

// Dport is the packet's destination port.
func Dport() Field { return portField("th dport", 2) }

// Sport is the packet's source port.
func Sport() Field { return portField("th sport", 0) }

func portField(name string, offset uint32) Field {
	return Field{text: name, regs: oneReg, load: func(_ Family, at Reg) expr.Any {
		return &expr.Payload{DestRegister: at.number(), Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	}}
}

// Scratch is a number that a rule left with the packet: its queueing priority, which the kernel sets anew for packets it forwards, and which is nothing
// (0) for nearly all it sends. The nft command aborts on a lookup of what a lookup gave (and with it, for the administrator, the listing of
// anybody's tables), so the first leaves its result here, and a second rule takes it from here.
func Scratch() Field {
	return Field{text: "meta priority", regs: oneReg, load: func(_ Family, at Reg) expr.Any {
		return &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: at.number()}
	}}
}

// SetScratch leaves the number at from with the packet.
func SetScratch(from Reg) Stmt {
	return Stmt{Text: "meta priority set", Exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: from.number()}}}
}

// ClearScratch takes the number away again. The register is overwritten.
func ClearScratch(by Reg) Stmt {
	return Stmt{Text: "meta priority set none", Exprs: []expr.Any{
		&expr.Immediate{Register: by.number(), Data: make([]byte, 4)},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: by.number()},
	}}
}

// Random is a number from 0 to mod-1, each as likely as the other.
func Random(mod int) Field {
	return Field{text: fmt.Sprintf("numgen random mod %d", mod), regs: oneReg, load: func(_ Family, at Reg) expr.Any {
		return &expr.Numgen{Register: at.number(), Modulus: uint32(mod), Type: unix.NFT_NG_RANDOM}
	}}
}

// name is how people write the field.
func (fd Field) name(f Family) string {
	if fd.text == "saddr" || fd.text == "daddr" {
		return f.String() + " " + fd.text
	}
	return fd.text
}

// Load puts fields in a row into registers from at on, and returns the first register behind them.
func Load(f Family, at Reg, fields ...Field) (Stmt, Reg) {
	var s Stmt
	var texts []string
	for _, fd := range fields {
		s.Exprs = append(s.Exprs, fd.load(f, at))
		at += Reg(fd.regs(f))
		texts = append(texts, fd.name(f))
	}
	s.Text = strings.Join(texts, " . ")
	return s, at
}

// Map looks the key at from up and puts what it finds at to; no match ends the rule.
func Map(set string, from, to Reg) Stmt {
	return Stmt{Text: "map @" + set, Exprs: []expr.Any{
		&expr.Lookup{SetName: set, SourceRegister: from.number(), DestRegister: to.number(), IsDestRegSet: true},
	}}
}

// VMap looks the key at from up and goes where the map says; no match ends the rule.
func VMap(set string, from Reg) Stmt {
	return Stmt{Text: "vmap @" + set, Exprs: []expr.Any{
		&expr.Lookup{SetName: set, SourceRegister: from.number(), DestRegister: verdictReg, IsDestRegSet: true},
	}}
}

// In matches if the key at from is in the set.
func In(set string, from Reg) Stmt {
	return Stmt{Text: "@" + set, Exprs: []expr.Any{&expr.Lookup{SetName: set, SourceRegister: from.number()}}}
}

// Is matches one field against a raw value.
func Is(f Family, fd Field, raw string, text string) Stmt {
	return compare(f, fd, expr.CmpOpEq, raw, text)
}

func compare(f Family, fd Field, op expr.CmpOp, raw, text string) Stmt {
	if op == expr.CmpOpNeq {
		text = "!= " + text
	}
	return Stmt{Text: fd.name(f) + " " + text, Exprs: []expr.Any{
		fd.load(f, 0), &expr.Cmp{Op: op, Register: Reg(0).number(), Data: []byte(raw)},
	}}
}

// IsAddr matches an address.
func IsAddr(f Family, fd Field, a netip.Addr) Stmt { return Is(f, fd, RawAddr(a), a.String()) }

// IsProto matches the transport protocol.
func IsProto(f Family, proto uint8) Stmt {
	return Is(f, L4Proto(), string([]byte{proto}), protoNames[proto])
}

// IsPort matches a port.
func IsPort(f Family, fd Field, port uint16) Stmt {
	return Is(f, fd, RawPort(port)[:2], fmt.Sprint(port))
}

// InPrefix matches an address in a range.
func InPrefix(f Family, fd Field, p netip.Prefix) Stmt { return prefix(f, fd, expr.CmpOpEq, p) }

// NotInPrefix matches an address outside a range.
func NotInPrefix(f Family, fd Field, p netip.Prefix) Stmt { return prefix(f, fd, expr.CmpOpNeq, p) }

func prefix(f Family, fd Field, op expr.CmpOp, p netip.Prefix) Stmt {
	s := compare(f, fd, op, RawAddr(p.Masked().Addr()), p.Masked().String())
	mask := make([]byte, f.AddrLen())
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	bitwise := &expr.Bitwise{
		SourceRegister: Reg(0).number(), DestRegister: Reg(0).number(), Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
	}
	s.Exprs = []expr.Any{s.Exprs[0], bitwise, s.Exprs[1]}
	return s
}

// loopback is the index of lo in every network namespace.
var loopback = RawMark(1)

// FromLo and ToLo match packets by the loopback link; negated, all others.
func FromLo(yes bool) Stmt { return lo("iif", expr.MetaKeyIIF, yes) }

// ToLo matches packets that leave by lo.
func ToLo(yes bool) Stmt { return lo("oif", expr.MetaKeyOIF, yes) }

func lo(text string, key expr.MetaKey, yes bool) Stmt {
	op, not := expr.CmpOpEq, ""
	if !yes {
		op, not = expr.CmpOpNeq, "!= "
	}
	return Stmt{Text: text + " " + not + "lo", Exprs: []expr.Any{
		&expr.Meta{Key: key, Register: Reg(0).number()}, &expr.Cmp{Op: op, Register: Reg(0).number(), Data: []byte(loopback)},
	}}
}

// ToLocal matches packets whose destination is an address of the node.
func ToLocal() Stmt {
	return Stmt{Text: "fib daddr type local", Exprs: []expr.Any{
		&expr.Fib{Register: Reg(0).number(), ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).number(), Data: []byte(RawMark(unix.RTN_LOCAL))},
	}}
}

// NoRoute matches packets that no link leads to the destination of. (The address type says nothing here: its lookup
// is confined to the table of local addresses.)
func NoRoute() Stmt {
	return Stmt{Text: "fib daddr oif missing", Exprs: []expr.Any{
		&expr.Fib{Register: Reg(0).number(), ResultOIF: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).number(), Data: []byte(RawMark(0))},
	}}
}

// dstNATBit is conntrack's status bit of connections whose destination was changed.
const dstNATBit = 1 << 5

// IsDNATed matches packets of connections whose destination was changed.
func IsDNATed() Stmt {
	mask := []byte(RawMark(dstNATBit))
	return Stmt{Text: "ct status dnat", Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: Reg(0).number()},
		&expr.Bitwise{SourceRegister: Reg(0).number(), DestRegister: Reg(0).number(), Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0).number(), Data: make([]byte, 4)},
	}}
}

// DNAT changes the destination to the address at addr and the port at port.
func DNAT(f Family, addr, port Reg) Stmt {
	return Stmt{Text: "dnat", Exprs: []expr.Any{
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: addr.number(), RegProtoMin: port.number(), Specified: true},
	}}
}

// SNAT changes the source to a fixed address.
func SNAT(f Family, to netip.Addr) Stmt {
	return Stmt{Text: "snat to " + to.String(), Exprs: []expr.Any{
		&expr.Immediate{Register: Reg(0).number(), Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f), RegAddrMin: Reg(0).number()},
	}}
}

// Masquerade changes the source to the address of the link the packet leaves by.
func Masquerade() Stmt { return Stmt{Text: "masquerade", Exprs: []expr.Any{&expr.Masq{}}} }

// Operations on dynamic maps.
const (
	dynsetUpdate = 1
	dynsetDelete = 2
)

// Remember adds the key and data to a dynamic map, or begins its element's time anew.
func Remember(set string, key, data Reg, timeout time.Duration) Stmt {
	return Stmt{Text: fmt.Sprintf("update @%s timeout %s", set, timeout), Exprs: []expr.Any{
		&expr.Dynset{SetName: set, SrcRegKey: key.number(), SrcRegData: data.number(), Operation: dynsetUpdate, Timeout: timeout},
	}}
}

// Forget removes the key from a dynamic map.
func Forget(set string, key Reg) Stmt {
	return Stmt{Text: "delete @" + set, Exprs: []expr.Any{
		// The kernel wants some data for a map, and ignores it: the key's own registers will do.
		&expr.Dynset{SetName: set, SrcRegKey: key.number(), SrcRegData: key.number(), Operation: dynsetDelete},
	}}
}

// Reset answers with a TCP reset: unlike ICMP errors these are never held back by a rate limit.
func Reset() Stmt {
	return Stmt{Text: "reject with tcp reset", Exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}
}

// Unreachable answers that the port is unreachable.
func Unreachable(f Family) Stmt {
	code := uint8(3)
	if f == IPv6 {
		code = 4
	}
	return Stmt{Text: "reject with port-unreachable", Exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}}
}

// Notrack keeps conntrack away from the packet.
func Notrack() Stmt { return Stmt{Text: "notrack", Exprs: []expr.Any{&expr.Notrack{}}} }

// The verdicts.
func Drop() Stmt { return verdict("drop", expr.VerdictDrop, "") }

// Return ends a chain.
func Return() Stmt { return verdict("return", expr.VerdictReturn, "") }

// Accept ends the hook's chain.
func Accept() Stmt { return verdict("accept", expr.VerdictAccept, "") }

// Jump runs another chain and comes back.
func Jump(chain string) Stmt { return verdict("jump "+chain, expr.VerdictJump, chain) }

// Goto runs another chain and does not come back.
func Goto(chain string) Stmt { return verdict("goto "+chain, expr.VerdictGoto, chain) }

func verdict(text string, kind expr.VerdictKind, chain string) Stmt {
	return Stmt{Text: text, Exprs: []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}
