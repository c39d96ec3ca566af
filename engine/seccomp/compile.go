package seccomp

import (
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Where the kernel puts what the program may look at.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32Bit marks calls of the x32 instruction set, which shares its audit number with x86_64 and which nobody runs.
const x32Bit = 0x40000000

// verdict is what happens to one call: the first rule whose conditions hold, else the rest.
type verdict struct {
	rules []rule
	rest  uint32
}

type rule struct {
	conditions []specs.LinuxSeccompArg
	action     uint32
}

// span is a row of call numbers, from its first to before the next span's, with one verdict.
type span struct {
	first   uint32
	verdict verdict
}

// compileSection makes the part of the program for one instruction set. Its jumps stay within it.
func compileSection(filter *specs.LinuxSeccomp, arch architecture, fallback uint32) ([]Instruction, error) {
	verdicts, err := verdicts(filter, arch.numbers(), fallback)
	if err != nil {
		return nil, err
	}
	unknown := fallback
	if fallback&0xffff0000 == returnErrno {
		unknown = returnErrno | uint32(unix.ENOSYS)
	}
	spans := spansOf(verdicts, fallback, unknown)
	if arch.name == specs.ArchX86_64 {
		spans = append(spans, span{first: x32Bit, verdict: verdict{rest: returnErrno | uint32(unix.ENOSYS)}})
	}
	a := assembler{}
	a.load(offsetNumber)
	tree, err := compileTree(spans)
	if err != nil {
		return nil, err
	}
	return append(a.code, tree...), nil
}

// verdicts collects the rules by call number. A rule without conditions goes before those with some.
func verdicts(filter *specs.LinuxSeccomp, numbers map[string]uint32, fallback uint32) (map[uint32]verdict, error) {
	out := map[uint32]verdict{}
	settled := map[uint32]bool{}
	for _, call := range filter.Syscalls {
		act, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range call.Names {
			nr, ok := numbers[name]
			if !ok || settled[nr] {
				continue // not a call of this machine
			}
			if len(call.Args) == 0 {
				out[nr], settled[nr] = verdict{rest: act}, true
				continue
			}
			v, ok := out[nr]
			if !ok {
				v.rest = fallback
			}
			v.rules = append(v.rules, alternatives(call.Args, act)...)
			out[nr] = v
		}
	}
	return out, nil
}

// alternatives makes one rule of conditions on different arguments; several on one argument mean that any of them is enough.
func alternatives(args []specs.LinuxSeccompArg, act uint32) []rule {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			var out []rule
			for _, one := range args {
				out = append(out, rule{conditions: []specs.LinuxSeccompArg{one}, action: act})
			}
			return out
		}
		seen[a.Index] = true
	}
	return []rule{{conditions: args, action: act}}
}

// spansOf lays the verdicts out over all numbers: gaps get the fallback, what is above the highest known number is unknown.
func spansOf(verdicts map[uint32]verdict, fallback, unknown uint32) []span {
	var spans []span
	add := func(first uint32, v verdict) {
		if n := len(spans); n > 0 && len(v.rules) == 0 && len(spans[n-1].verdict.rules) == 0 && spans[n-1].verdict.rest == v.rest {
			return
		}
		spans = append(spans, span{first, v})
	}
	next := uint32(0)
	for _, nr := range slices.Sorted(maps.Keys(verdicts)) {
		if nr > next {
			add(next, verdict{rest: fallback})
		}
		add(nr, verdicts[nr])
		next = nr + 1
	}
	add(next, verdict{rest: unknown})
	return spans
}

// compileTree makes a binary search for the span of the number in the accumulator.
func compileTree(spans []span) ([]Instruction, error) {
	if len(spans) == 1 {
		return compileVerdict(spans[0].verdict)
	}
	middle := len(spans) / 2
	left, err := compileTree(spans[:middle])
	if err != nil {
		return nil, err
	}
	right, err := compileTree(spans[middle:])
	if err != nil {
		return nil, err
	}
	a := assembler{}
	if len(left) <= 255 {
		a.emit(jumpGreaterEqual, spans[middle].first, uint8(len(left)), 0)
	} else { // further than a conditional jump reaches
		a.emit(jumpGreaterEqual, spans[middle].first, 0, 1)
		a.emit(jumpAlways, uint32(len(left)), 0, 0)
	}
	return slices.Concat(a.code, left, right), nil
}

func compileVerdict(v verdict) ([]Instruction, error) {
	var code []Instruction
	for _, r := range v.rules {
		one, err := compileRule(r)
		if err != nil {
			return nil, err
		}
		code = append(code, one...)
	}
	a := assembler{code: code}
	a.ret(v.rest)
	return a.code, nil
}

// compileRule checks the conditions one after the other, and goes on behind its end if one does not hold.
func compileRule(r rule) ([]Instruction, error) {
	a := assembler{}
	var fails []int // instructions with a jump to the rule's end: jf, or jt where marked
	for _, c := range r.conditions {
		if c.Index > 5 {
			return nil, errkind.New(errkind.Invalid, "seccomp rule names argument %d of a call", c.Index)
		}
		if err := a.condition(c, &fails); err != nil {
			return nil, err
		}
	}
	a.ret(r.action)
	for _, at := range fails {
		i, distance := at&^onTrue, 0
		distance = len(a.code) - i - 1
		if distance > 255 {
			return nil, errkind.New(errkind.Invalid, "seccomp rule has too many conditions")
		}
		if at&onTrue != 0 {
			a.code[i].JT = uint8(distance)
		} else {
			a.code[i].JF = uint8(distance)
		}
	}
	return a.code, nil
}

// onTrue marks a failure that is taken when the comparison holds.
const onTrue = 1 << 30
