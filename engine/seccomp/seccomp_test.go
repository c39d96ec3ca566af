package seccomp

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// call is a system call as a filter sees it.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// run interprets a program, as the kernel does.
func run(t *testing.T, p Program, c call) uint32 {
	t.Helper()
	words := []uint32{c.nr, c.arch, 0, 0}
	for _, a := range c.args {
		words = append(words, uint32(a), uint32(a>>32))
	}
	acc := uint32(0)
	for pc := 0; pc < len(p.Instructions); pc++ {
		i := p.Instructions[pc]
		var holds bool
		switch i.Code {
		case loadWord:
			acc = words[i.K/4]
			continue
		case andConstant:
			acc &= i.K
			continue
		case jumpAlways:
			pc += int(i.K)
			continue
		case returnConstant:
			return i.K
		case jumpEqual:
			holds = acc == i.K
		case jumpGreater:
			holds = acc > i.K
		case jumpGreaterEqual:
			holds = acc >= i.K
		default:
			t.Fatalf("instruction %d has unknown code %#x", pc, i.Code)
		}
		if holds {
			pc += int(i.JT)
		} else {
			pc += int(i.JF)
		}
	}
	t.Fatalf("program has no end for %+v", c)
	return 0
}

func compile(t *testing.T, f *specs.LinuxSeccomp) Program {
	t.Helper()
	p, err := Compile(f, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultProfile(t *testing.T) {
	filter, err := profiles.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		t.Fatal(err)
	}
	p := compile(t, filter)
	const denied, nosys = returnErrno | uint32(unix.EPERM), returnErrno | uint32(unix.ENOSYS)
	for _, tc := range []struct {
		name string
		call call
		want uint32
	}{
		{"read", call{nr: unix.SYS_READ, arch: unix.AUDIT_ARCH_X86_64}, returnAllow},
		{"mount", call{nr: unix.SYS_MOUNT, arch: unix.AUDIT_ARCH_X86_64}, denied},
		{"unshare", call{nr: unix.SYS_UNSHARE, arch: unix.AUDIT_ARCH_X86_64}, denied},
		{"clone of a thread", call{nr: unix.SYS_CLONE, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}}, returnAllow},
		{"clone of a namespace", call{nr: unix.SYS_CLONE, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{unix.CLONE_NEWUSER}}, denied},
		{"clone3", call{nr: unix.SYS_CLONE3, arch: unix.AUDIT_ARCH_X86_64}, nosys},
		{"a call of the future", call{nr: 5000, arch: unix.AUDIT_ARCH_X86_64}, nosys},
		{"x32", call{nr: x32Bit + unix.SYS_READ, arch: unix.AUDIT_ARCH_X86_64}, nosys},
		{"read on i386", call{nr: 3, arch: unix.AUDIT_ARCH_I386}, returnAllow},
		{"mount on i386", call{nr: 21, arch: unix.AUDIT_ARCH_I386}, denied},
		{"another machine", call{nr: 0, arch: unix.AUDIT_ARCH_AARCH64}, returnKillThread},
		{"personality", call{nr: unix.SYS_PERSONALITY, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{0x0008}}, returnAllow},
		{"another personality", call{nr: unix.SYS_PERSONALITY, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{0x0040}}, denied},
	} {
		if got := run(t, p, tc.call); got != tc.want {
			t.Errorf("%s: %#x, want %#x", tc.name, got, tc.want)
		}
	}
	if n := len(p.Instructions); n > 700 {
		t.Errorf("default profile has %d instructions", n)
	}
}

// naive is what a filter means, by its text.
func naive(f *specs.LinuxSeccomp, c call) uint32 {
	fallback, _ := action(f.DefaultAction, f.DefaultErrnoRet)
	numbers := numbersAMD64()
	highest := -1
	result, decided := fallback, false
	for _, s := range f.Syscalls {
		for _, name := range s.Names {
			highest = max(highest, int(numbers[name]))
			if numbers[name] != c.nr || len(s.Args) > 0 || decided {
				continue
			}
			result, _ = action(s.Action, s.ErrnoRet)
			decided = true
		}
	}
	for _, s := range f.Syscalls {
		if decided {
			break
		}
		if !slices.ContainsFunc(s.Names, func(n string) bool { return numbers[n] == c.nr }) {
			continue
		}
		count := map[uint]int{}
		all, some, double := true, false, false
		for _, a := range s.Args {
			count[a.Index]++
			double = double || count[a.Index] > 1
			h := holds(a, c.args[a.Index])
			all, some = all && h, some || h
		}
		if double && some || !double && all {
			result, _ = action(s.Action, s.ErrnoRet)
			decided = true
		}
	}
	if int(c.nr) > highest && fallback&0xffff0000 == returnErrno {
		return returnErrno | uint32(unix.ENOSYS)
	}
	return result
}

func holds(a specs.LinuxSeccompArg, v uint64) bool {
	switch a.Op {
	case specs.OpEqualTo:
		return v == a.Value
	case specs.OpNotEqual:
		return v != a.Value
	case specs.OpGreaterThan:
		return v > a.Value
	case specs.OpGreaterEqual:
		return v >= a.Value
	case specs.OpLessThan:
		return v < a.Value
	case specs.OpLessEqual:
		return v <= a.Value
	}
	return v&a.Value == a.ValueTwo
}

// TestMeaning holds random filters against their naive meaning.
func TestMeaning(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	names := []string{"read", "write", "open", "close", "clone", "mount", "socket", "clone3"}
	numbers := numbersAMD64()
	values := []uint64{0, 1, 2, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 5 << 32, 1<<64 - 1}
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan,
		specs.OpLessEqual, specs.OpMaskedEqual}
	acts := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActLog, specs.ActTrap}
	for range 300 {
		f := &specs.LinuxSeccomp{DefaultAction: acts[rnd.IntN(2)]}
		for range rnd.IntN(12) {
			s := specs.LinuxSyscall{Names: []string{names[rnd.IntN(len(names))]}, Action: acts[rnd.IntN(len(acts))]}
			for range rnd.IntN(3) {
				s.Args = append(s.Args, specs.LinuxSeccompArg{Index: uint(rnd.IntN(3)), Op: ops[rnd.IntN(len(ops))],
					Value: values[rnd.IntN(len(values))], ValueTwo: values[rnd.IntN(len(values))]})
			}
			f.Syscalls = append(f.Syscalls, s)
		}
		p := compile(t, f)
		for range 100 {
			c := call{nr: numbers[names[rnd.IntN(len(names))]] + uint32(rnd.IntN(2)), arch: unix.AUDIT_ARCH_X86_64}
			for i := range c.args {
				c.args[i] = values[rnd.IntN(len(values))]
			}
			if got, want := run(t, p, c), naive(f, c); got != want {
				t.Fatalf("call %+v under %+v gives %#x, want %#x", c, f, got, want)
			}
		}
	}
}

func TestEncode(t *testing.T) {
	p := compile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow})
	got, err := Decode(p.Encode())
	if diff := cmp.Diff(p, got); diff != "" || err != nil {
		t.Errorf("program after encoding: %v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", prefix, prefix + "AAAA", "x" + p.Encode()} {
		if _, err := Decode(text); !errors.Is(err, errkind.Invalid) {
			t.Errorf("decoding %q returned %v", text, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	for name, f := range map[string]*specs.LinuxSeccomp{
		"notify":   {DefaultAction: specs.ActNotify},
		"flag":     {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}},
		"operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "X"}}}}},
		"index":    {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
	} {
		if _, err := Compile(f, "amd64"); !errors.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v, want kind invalid", name, err)
		}
	}
}
