package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The instructions of classic BPF that filters need.
const (
	loadWord         = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	andConstant      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jumpAlways       = unix.BPF_JMP | unix.BPF_JA
	jumpEqual        = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater      = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpGreaterEqual = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	returnConstant   = unix.BPF_RET | unix.BPF_K
)

type assembler struct{ code []Instruction }

func (a *assembler) emit(code uint16, k uint32, jt, jf uint8) int {
	a.code = append(a.code, Instruction{Code: code, JT: jt, JF: jf, K: k})
	return len(a.code) - 1
}

func (a *assembler) load(offset uint32) { a.emit(loadWord, offset, 0, 0) }

func (a *assembler) ret(value uint32) { a.emit(returnConstant, value, 0, 0) }

// condition compares a 64-bit argument in two halves. It falls through if the condition holds, and notes the jumps taken if not.
func (a *assembler) condition(c specs.LinuxSeccompArg, fails *[]int) error {
	high, low := offsetArgs+8*uint32(c.Index)+4, offsetArgs+8*uint32(c.Index) // all machines we know are little-endian
	vh, vl := uint32(c.Value>>32), uint32(c.Value)
	fail := func(i int) { *fails = append(*fails, i) }
	switch c.Op {
	case specs.OpEqualTo:
		a.load(high)
		fail(a.emit(jumpEqual, vh, 0, 0))
		a.load(low)
		fail(a.emit(jumpEqual, vl, 0, 0))
	case specs.OpNotEqual:
		a.load(high)
		a.emit(jumpEqual, vh, 0, 2) // different: holds already
		a.load(low)
		fail(a.emit(jumpEqual, vl, 0, 0) | onTrue)
	case specs.OpMaskedEqual: // the value is the mask
		th, tl := uint32(c.ValueTwo>>32), uint32(c.ValueTwo)
		a.load(high)
		a.emit(andConstant, vh, 0, 0)
		fail(a.emit(jumpEqual, th, 0, 0))
		a.load(low)
		a.emit(andConstant, vl, 0, 0)
		fail(a.emit(jumpEqual, tl, 0, 0))
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		a.load(high)
		a.emit(jumpGreater, vh, 3, 0)
		fail(a.emit(jumpEqual, vh, 0, 0))
		a.load(low)
		fail(a.emit(orEqual(c.Op == specs.OpGreaterEqual), vl, 0, 0))
	case specs.OpLessThan, specs.OpLessEqual: // the opposites, with the ends exchanged
		a.load(high)
		fail(a.emit(jumpGreater, vh, 0, 0) | onTrue)
		a.emit(jumpEqual, vh, 0, 2)
		a.load(low)
		fail(a.emit(orEqual(c.Op == specs.OpLessThan), vl, 0, 0) | onTrue)
	default:
		return errkind.New(errkind.Invalid, "seccomp operator %q is not supported", c.Op)
	}
	return nil
}

func orEqual(equal bool) uint16 {
	if equal {
		return jumpGreaterEqual
	}
	return jumpGreater
}
