package nft

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// elementsPerMessage keeps a message's list of elements far below the 64 KB that an attribute's length can express; beyond that
// elements are lost without an error.
const elementsPerMessage = 400

// batch is a transaction in the kernel's encoding. labels say in words what each message does, for errors.
type batch struct {
	family Family
	table  string
	buf    []byte
	seq    uint32
	first  uint32
	last   int // offset of the last message
	labels []string
}

func newBatch(f Family, table string, seq uint32) *batch {
	b := &batch{family: f, table: table, seq: seq, first: seq}
	b.header(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, "begin batch")
	b.finish()
	return b
}

// header begins a message; finish ends it.
func (b *batch) header(typ uint16, flags uint16, family uint8, res uint16, label string) {
	b.last = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // length, set by finish
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // the kernel knows who we are
	b.buf = append(b.buf, family, unix.NFNETLINK_V0)
	b.buf = binary.BigEndian.AppendUint16(b.buf, res)
	b.labels = append(b.labels, label)
	b.seq++
}

func (b *batch) finish() {
	binary.NativeEndian.PutUint32(b.buf[b.last:], uint32(len(b.buf)-b.last))
}

func (b *batch) message(typ uint16, flags uint16, label string, fill func()) {
	b.header(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, uint8(b.family), 0, label)
	fill()
	b.finish()
}

// close asks for one acknowledgement, of the last message, and ends the transaction. Errors are reported without asking.
func (b *batch) close(commit bool) (lastSeq uint32) {
	flags := binary.NativeEndian.Uint16(b.buf[b.last+6:])
	binary.NativeEndian.PutUint16(b.buf[b.last+6:], flags|unix.NLM_F_ACK)
	lastSeq = b.seq - 1
	if commit {
		b.header(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, "commit")
		b.finish()
	}
	return lastSeq
}

func (b *batch) label(seq uint32) string {
	at := int(seq - b.first)
	if at < 0 || at >= len(b.labels) {
		return "unknown message"
	}
	return b.labels[at]
}

func (b *batch) bytes(typ uint16, data []byte) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(4+len(data)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = append(b.buf, data...)
	b.pad()
}

func (b *batch) raw(typ uint16, data string) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(4+len(data)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = append(b.buf, data...)
	b.pad()
}

func (b *batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) str(typ uint16, s string) { b.raw(typ, s+"\x00") }

func (b *batch) u32(typ uint16, n uint32) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 8)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.BigEndian.AppendUint32(b.buf, n)
}

func (b *batch) u64(typ uint16, n uint64) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 12)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.BigEndian.AppendUint64(b.buf, n)
}

// nest begins an attribute that holds attributes; unnest ends it.
func (b *batch) nest(typ uint16) int {
	at := len(b.buf)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ|unix.NLA_F_NESTED)
	return at
}

func (b *batch) unnest(at int) {
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

func (b *batch) addTable() {
	b.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table "+b.table, func() {
		b.str(unix.NFTA_TABLE_NAME, b.table)
		b.u32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

func (b *batch) deleteTable() {
	b.message(unix.NFT_MSG_DELTABLE, 0, "delete table "+b.table, func() { b.str(unix.NFTA_TABLE_NAME, b.table) })
}

func (b *batch) addSet(s Set, id uint32) {
	b.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "add set "+s.Name, func() {
		b.str(unix.NFTA_SET_TABLE, b.table)
		b.str(unix.NFTA_SET_NAME, s.Name)
		var flags uint32
		if s.Verdicts || s.Data != nil {
			flags |= unix.NFT_SET_MAP
		}
		if s.Dynamic {
			flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
		}
		b.u32(unix.NFTA_SET_FLAGS, flags)
		typ, length := concat(s.Key)
		b.u32(unix.NFTA_SET_KEY_TYPE, typ)
		b.u32(unix.NFTA_SET_KEY_LEN, length)
		switch {
		case s.Verdicts:
			b.u32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		case s.Data != nil:
			typ, length := concat(s.Data)
			b.u32(unix.NFTA_SET_DATA_TYPE, typ)
			b.u32(unix.NFTA_SET_DATA_LEN, length)
		}
		b.u32(unix.NFTA_SET_ID, id)
		if s.Timeout > 0 {
			b.u64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
		}
		if s.Size > 0 {
			at := b.nest(unix.NFTA_SET_DESC)
			b.u32(unix.NFTA_SET_DESC_SIZE, uint32(s.Size))
			b.unnest(at)
		}
	})
}

// concat returns the number by which the nft command knows a row of types, and its length.
func concat(types []Type) (magic, length uint32) {
	for _, t := range types {
		magic = magic<<6 | t.magic
		length += uint32(t.Len)
	}
	return magic, length
}

func (b *batch) addChain(c Chain) {
	b.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain "+c.Name, func() {
		b.str(unix.NFTA_CHAIN_TABLE, b.table)
		b.str(unix.NFTA_CHAIN_NAME, c.Name)
		if c.Hook == nil {
			return
		}
		at := b.nest(unix.NFTA_CHAIN_HOOK)
		b.u32(unix.NFTA_HOOK_HOOKNUM, c.Hook.Point)
		b.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.Hook.Priority))
		b.unnest(at)
		b.u32(unix.NFTA_CHAIN_POLICY, 1) // accept
		b.str(unix.NFTA_CHAIN_TYPE, c.Hook.Type)
	})
}

func (b *batch) addRules(c Chain) error {
	for _, r := range c.Rules {
		var fault error
		b.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, fmt.Sprintf("add rule to chain %s: %s", c.Name, r), func() {
			b.str(unix.NFTA_RULE_TABLE, b.table)
			b.str(unix.NFTA_RULE_CHAIN, c.Name)
			at := b.nest(unix.NFTA_RULE_EXPRESSIONS)
			for _, s := range r {
				for _, e := range s.Exprs {
					data, err := expr.Marshal(byte(b.family), e)
					if err != nil {
						fault = fmt.Errorf("encode rule of chain %s: %w", c.Name, err)
					}
					b.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
				}
			}
			b.unnest(at)
		})
		if fault != nil {
			return fault
		}
	}
	return nil
}

// elements encodes adding or removing elements. They must be in order of their sets.
func (b *batch) elements(typ uint16, what string, elems []Element, verdicts map[string]bool) {
	for len(elems) > 0 {
		set := elems[0].Set
		n := slices.IndexFunc(elems, func(e Element) bool { return e.Set != set })
		if n < 0 {
			n = len(elems)
		}
		for _, part := range chunks(elems[:n]) {
			b.message(typ, unix.NLM_F_CREATE, what+" "+set, func() {
				b.str(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
				b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
				list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
				for _, e := range part {
					b.element(e, typ == unix.NFT_MSG_NEWSETELEM, verdicts[set])
				}
				b.unnest(list)
			})
		}
		elems = elems[n:]
	}
}

func chunks(elems []Element) [][]Element {
	return slices.Collect(slices.Chunk(elems, elementsPerMessage))
}

func (b *batch) element(e Element, withData, verdict bool) {
	at := b.nest(unix.NFTA_LIST_ELEM)
	key := b.nest(unix.NFTA_SET_ELEM_KEY)
	b.raw(unix.NFTA_DATA_VALUE, e.Key)
	b.unnest(key)
	switch {
	case !withData || e.Data == "":
	case verdict:
		data := b.nest(unix.NFTA_SET_ELEM_DATA)
		v := b.nest(unix.NFTA_DATA_VERDICT)
		kind := int32(unix.NFT_GOTO)
		b.u32(unix.NFTA_VERDICT_CODE, uint32(kind))
		b.str(unix.NFTA_VERDICT_CHAIN, e.Data)
		b.unnest(v)
		b.unnest(data)
	default:
		data := b.nest(unix.NFTA_SET_ELEM_DATA)
		b.raw(unix.NFTA_DATA_VALUE, e.Data)
		b.unnest(data)
	}
	b.unnest(at)
}
