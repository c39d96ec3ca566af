// Package seccomp compiles OCI system call filters to the programs that the kernel runs.
//
// Compiling is done once, by whoever starts a container, so that neither the container's first process nor any later one spends time
// on it. The package loads nothing and has no profiles of its own. Start with Compile.
package seccomp

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

//go:generate go run gen.go

// Instruction is one step of a filter.
type Instruction struct {
	Code   uint16
	JT, JF uint8
	K      uint32
}

// Program is a compiled filter and the flags to load it with.
type Program struct {
	Flags        uint32
	Instructions []Instruction
}

// prefix marks an encoded program.
const prefix = "seccomp-program:"

// Encode makes a text of a program.
func (p Program) Encode() string {
	data := binary.LittleEndian.AppendUint32(nil, p.Flags)
	for _, i := range p.Instructions {
		data = binary.LittleEndian.AppendUint16(data, i.Code)
		data = append(data, i.JT, i.JF)
		data = binary.LittleEndian.AppendUint32(data, i.K)
	}
	return prefix + base64.StdEncoding.EncodeToString(data)
}

// Decode reads what Encode made.
func Decode(text string) (Program, error) {
	text, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Program{}, errkind.New(errkind.Invalid, "not an encoded filter")
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) < 12 || len(data)%8 != 4 {
		return Program{}, errkind.New(errkind.Invalid, "encoded filter is damaged")
	}
	p := Program{Flags: binary.LittleEndian.Uint32(data)}
	for data = data[4:]; len(data) > 0; data = data[8:] {
		p.Instructions = append(p.Instructions, Instruction{Code: binary.LittleEndian.Uint16(data), JT: data[2], JF: data[3],
			K: binary.LittleEndian.Uint32(data[4:])})
	}
	return p, nil
}

// architecture is one instruction set that a process can make system calls by.
type architecture struct {
	name    specs.Arch
	audit   uint32
	numbers func() map[string]uint32
}

// architectures lists, for a machine, its own instruction set and those it can run besides.
func architectures(goarch string) []architecture {
	switch goarch {
	case "amd64":
		return []architecture{{specs.ArchX86_64, unix.AUDIT_ARCH_X86_64, numbersAMD64}, {specs.ArchX86, unix.AUDIT_ARCH_I386, numbers386}}
	case "arm64":
		return []architecture{{specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64, numbersARM64}, {specs.ArchARM, unix.AUDIT_ARCH_ARM, numbersARM}}
	case "riscv64":
		return []architecture{{specs.ArchRISCV64, unix.AUDIT_ARCH_RISCV64, numbersRISCV64}}
	}
	return nil
}

// Compile translates a filter for a machine, named as Go names it. Calls that the filter does not know, because they are newer than it,
// fail with ENOSYS rather than with its default error, so that programs fall back to older ones.
func Compile(filter *specs.LinuxSeccomp, goarch string) (Program, error) {
	archs := architectures(goarch)
	if len(archs) == 0 {
		return Program{}, errkind.New(errkind.Invalid, "seccomp filters are not supported on %s", goarch)
	}
	fallback, err := action(filter.DefaultAction, filter.DefaultErrnoRet)
	if err != nil {
		return Program{}, err
	}
	var p Program
	if p.Flags, err = flags(filter.Flags); err != nil {
		return Program{}, err
	}
	a := assembler{}
	a.load(offsetArch)
	for i, arch := range archs {
		if i > 0 && !slices.Contains(filter.Architectures, arch.name) {
			continue
		}
		section, err := compileSection(filter, arch, fallback)
		if err != nil {
			return Program{}, err
		}
		a.emit(jumpEqual, arch.audit, 1, 0)
		a.emit(jumpAlways, uint32(len(section)), 0, 0)
		a.code = append(a.code, section...)
	}
	a.ret(returnKillThread)
	p.Instructions = a.code
	if len(p.Instructions) > 4096 {
		return Program{}, errkind.New(errkind.Invalid, "seccomp filter is too large: %d instructions", len(p.Instructions))
	}
	return p, nil
}

func flags(in []specs.LinuxSeccompFlag) (uint32, error) {
	if len(in) == 0 {
		// Filters are no reason to slow a whole process down by the defence against speculation; it can ask for that itself.
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var out uint32
	for _, f := range in {
		switch f {
		case specs.LinuxSeccompFlagLog:
			out |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			out |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is one thread when the filter is loaded
		default:
			return 0, errkind.New(errkind.Invalid, "seccomp flag %q is not supported", f)
		}
	}
	return out, nil
}

// What the kernel is told to do with a call.
const (
	returnKillProcess = 0x80000000
	returnKillThread  = 0x00000000
	returnTrap        = 0x00030000
	returnErrno       = 0x00050000
	returnTrace       = 0x7ff00000
	returnLog         = 0x7ffc0000
	returnAllow       = 0x7fff0000
)

func action(act specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	number := uint32(unix.EPERM)
	if errno != nil {
		number = uint32(*errno) & 0xffff
	}
	switch act {
	case specs.ActKill, specs.ActKillThread:
		return returnKillThread, nil
	case specs.ActKillProcess:
		return returnKillProcess, nil
	case specs.ActTrap:
		return returnTrap, nil
	case specs.ActErrno:
		return returnErrno | number, nil
	case specs.ActTrace:
		return returnTrace | number, nil
	case specs.ActLog:
		return returnLog, nil
	case specs.ActAllow:
		return returnAllow, nil
	}
	return 0, errkind.New(errkind.Invalid, "seccomp action %q is not supported", act)
}
