package instance

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// capability is one of root's rights, and what a node does with it.
type capability struct {
	bit   int
	name  string
	needs string
}

func capabilities() []capability {
	return []capability{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "mount file systems and make namespaces"},
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "make the pods' network"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "work on the files of images"},
		{unix.CAP_CHOWN, "CAP_CHOWN", "give files to the users of images"},
		{unix.CAP_FOWNER, "CAP_FOWNER", "work on the files of images"},
		{unix.CAP_MKNOD, "CAP_MKNOD", "make the devices of containers"},
		{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT", "change the root of containers"},
		{unix.CAP_SETUID, "CAP_SETUID", "run containers as their users"},
		{unix.CAP_SETGID, "CAP_SETGID", "run containers as their groups"},
		{unix.CAP_SETPCAP, "CAP_SETPCAP", "take rights away from containers"},
		{unix.CAP_KILL, "CAP_KILL", "end containers"},
	}
}

// Rights says whether this process may run containers. Whoever starts a server in the background asks before, since without them not even its log
// can be written.
func Rights() error {
	if os.Geteuid() != 0 {
		return errkind.New(errkind.Denied, "running containers needs root: start the server with sudo (or with --no-node for a control plane alone)")
	}
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	return lacking(uint64(data[1].Effective)<<32 | uint64(data[0].Effective))
}

// lacking compares a set of capabilities, one bit each, with what a node needs.
func lacking(have uint64) error {
	var missing []string
	for _, c := range capabilities() {
		if have&(1<<c.bit) == 0 {
			missing = append(missing, fmt.Sprintf("%s (to %s)", c.name, c.needs))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errkind.New(errkind.Denied, "running containers needs all of root's rights, and this process lacks %s: start the server outside the container or service that takes them away, or with --no-node for a control plane alone",
		strings.Join(missing, ", "))
}
