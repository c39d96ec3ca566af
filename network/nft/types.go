package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Raw forms of the parts of keys and data, each padded to whole registers.

// RawAddr is an address.
func RawAddr(a netip.Addr) string { return string(a.AsSlice()) }

// RawProto is a transport protocol.
func RawProto(proto uint8) string { return string([]byte{proto, 0, 0, 0}) }

// RawPort is a port.
func RawPort(p uint16) string { return string([]byte{byte(p >> 8), byte(p), 0, 0}) }

// RawMark is a number.
func RawMark(n uint32) string {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], n)
	return string(b[:])
}

var protoNames = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}

func (t Type) format(raw string) string {
	switch t.magic {
	case 7, 8:
		a, _ := netip.AddrFromSlice([]byte(raw))
		return a.String()
	case 12:
		name := protoNames[raw[0]]
		if name == "" {
			name = strconv.Itoa(int(raw[0]))
		}
		return name
	case 13:
		return strconv.Itoa(int(raw[0])<<8 | int(raw[1]))
	default:
		return fmt.Sprintf("%#x", binary.NativeEndian.Uint32([]byte(raw)))
	}
}
