//go:build !linux || !cgo || !seccomp

// Package seccomp takes the place of libcontainer's own when the helper is built (see build.sh): a container's first process loads a
// filter that the supervisor has compiled. Libcontainer would compile it with libseccomp in that process, which takes longer than the
// rest of a start together, and again in each process that joins the container.
//
// The compiled filter travels in ListenerMetadata, which means nothing without a listener.
package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	program "github.com/cuppa-project/cuppa/engine/seccomp"
)

// ErrSeccompNotEnabled is for filters that were not compiled before.
var ErrSeccompNotEnabled = errors.New("seccomp: filter has not been compiled")

// InitSeccomp loads the filter for the calling thread, which becomes the container's program. There is never a listener: -1.
func InitSeccomp(config *configs.Seccomp) (int, error) {
	if config == nil {
		return -1, errors.New("seccomp: no filter given")
	}
	p, err := program.Decode(config.ListenerMetadata)
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrSeccompNotEnabled, err)
	}
	filter := make([]unix.SockFilter, 0, len(p.Instructions))
	for _, i := range p.Instructions {
		filter = append(filter, unix.SockFilter{Code: i.Code, Jt: i.JT, Jf: i.JF, K: i.K})
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(p.Flags), uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, fmt.Errorf("load seccomp filter: %w", errno)
	}
	return -1, nil
}

// FlagSupported says no: flags are a part of the compiled filter.
func FlagSupported(specs.LinuxSeccompFlag) error { return ErrSeccompNotEnabled }

// Version is that of libseccomp, which is not linked.
func Version() (uint, uint, uint) { return 0, 0, 0 }

// Enabled tells that filters work.
const Enabled = true
