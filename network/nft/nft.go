// Package nft is nftables as values: tables, maps, chains and rules that can be printed, compared and sent to the kernel in one batch.
//
// It knows nothing of Services or pods; network/proxy decides what the tables hold. Expressions of rules come from google/nftables;
// messages are encoded here, because elements come by the ten thousand, and because one acknowledgement per message
// would overflow the socket after the kernel has committed. Start with Table, Update and Conn.
package nft

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Family is a table's address family.
type Family uint8

// The families there are; one table each keeps keys short.
const (
	IPv4 Family = unix.NFPROTO_IPV4
	IPv6 Family = unix.NFPROTO_IPV6
)

func (f Family) String() string {
	if f == IPv4 {
		return "ip"
	}
	return "ip6"
}

// AddrLen is the number of bytes of an address.
func (f Family) AddrLen() int {
	if f == IPv4 {
		return 4
	}
	return 16
}

// Type is the type of one part of a key or of data. The kernel only looks at the length; the name is for people and for the nft command.
type Type struct {
	Name  string
	Len   int // padded to whole registers
	magic uint32
}

// The types that maps are made of.
func Addr(f Family) Type {
	if f == IPv4 {
		return Type{"ipv4_addr", 4, 7}
	}
	return Type{"ipv6_addr", 16, 8}
}

// Proto is a transport protocol, its number in the first byte.
func Proto() Type { return Type{"inet_proto", 4, 12} }

// Port is a transport port, in network order in the first two bytes.
func Port() Type { return Type{"inet_service", 4, 13} }

// Mark is a number in host order.
func Mark() Type { return Type{"mark", 4, 19} }

// Set describes a set, a map (Data given) or a verdict map.
type Set struct {
	Name     string
	Key      []Type
	Data     []Type // nil for sets and verdict maps
	Verdicts bool
	// Dynamic sets are filled by rules; their elements end after Timeout.
	Dynamic bool
	Timeout time.Duration
	Size    int // 0: no limit
}

// Element is one entry of a set: raw bytes as strings, so that it can be compared and be part of a Go map's key.
type Element struct {
	Set  string
	Key  string
	Data string // raw bytes, or the name of the chain to go to in a verdict map
}

// Compare orders elements by set, key and data.
func (e Element) Compare(o Element) int {
	return cmp.Or(cmp.Compare(e.Set, o.Set), cmp.Compare(e.Key, o.Key), cmp.Compare(e.Data, o.Data))
}

// Hook places a base chain.
type Hook struct {
	Type     string // filter or nat
	Point    uint32 // unix.NF_INET_...
	Priority int32
}

// Chain is a list of rules; a base chain if Hook is given.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// Rule is a list of statements.
type Rule []Stmt

// Stmt is one statement: what people read and what the kernel runs, made together by the functions of stmt.go.
type Stmt struct {
	Text  string
	Exprs []expr.Any
}

func (r Rule) String() string {
	texts := make([]string, len(r))
	for i, s := range r {
		texts[i] = s.Text
	}
	return strings.Join(texts, " ")
}

// Table is a whole table without its elements.
type Table struct {
	Family Family
	Name   string
	Sets   []Set
	Chains []Chain
}

// Update is a change to a loaded table, carried out as one transaction: chains appear, then elements go, then elements come.
type Update struct {
	Chains []Chain
	Remove []Element
	Add    []Element
}

// Empty says whether there is nothing to do.
func (u Update) Empty() bool { return len(u.Chains)+len(u.Remove)+len(u.Add) == 0 }

var hookNames = map[uint32]string{
	unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_IN: "input", unix.NF_INET_FORWARD: "forward",
	unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting",
}

// String prints the table in the manner of the nft command.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.Family, t.Name)
	for _, s := range t.Sets {
		b.WriteString(s.String())
	}
	for _, c := range t.Chains {
		b.WriteString(c.String())
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) String() string {
	var b strings.Builder
	kind := "map"
	if s.Data == nil && !s.Verdicts {
		kind = "set"
	}
	fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s", kind, s.Name, typeNames(s.Key))
	switch {
	case s.Verdicts:
		b.WriteString(" : verdict")
	case s.Data != nil:
		b.WriteString(" : " + typeNames(s.Data))
	}
	b.WriteString("\n")
	if s.Size > 0 {
		fmt.Fprintf(&b, "\t\tsize %d\n", s.Size)
	}
	if s.Dynamic {
		fmt.Fprintf(&b, "\t\tflags dynamic,timeout\n\t\ttimeout %s\n", s.Timeout)
	}
	b.WriteString("\t}\n")
	return b.String()
}

func typeNames(types []Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	return strings.Join(names, " . ")
}

func (c Chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if c.Hook != nil {
		fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.Hook.Type, hookNames[c.Hook.Point], c.Hook.Priority)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Format prints an element by the types of its set.
func (t Table) Format(e Element) string {
	at := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == e.Set })
	if at < 0 {
		return fmt.Sprintf("%s: %x : %x", e.Set, e.Key, e.Data)
	}
	s := t.Sets[at]
	line := s.Name + ": " + formatParts(s.Key, e.Key)
	switch {
	case s.Verdicts:
		line += " : goto " + e.Data
	case s.Data != nil:
		line += " : " + formatParts(s.Data, e.Data)
	}
	return line
}

func formatParts(types []Type, raw string) string {
	parts := make([]string, len(types))
	for i, t := range types {
		if len(raw) < t.Len {
			return "short:" + hex.EncodeToString([]byte(raw))
		}
		parts[i] = t.format(raw[:t.Len])
		raw = raw[t.Len:]
	}
	return strings.Join(parts, " . ")
}
