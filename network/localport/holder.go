package localport

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cuppa-project/cuppa/network/netns"
)

// Holder names the process that has a port of this machine: "process 812 (nginx)".
func Holder(p Port) string { return holder(nil, p) }

// holder names the process that has a port: the kernel's list of sockets gives the socket's inode, and one process has a descriptor of it.
func holder(ns *netns.NS, p Port) string {
	inodes := map[string]bool{}
	_ = ns.Do(func() error {
		for _, suffix := range []string{"", "6"} {
			f, err := os.Open("/proc/thread-self/net/" + strings.ToLower(p.Protocol) + suffix)
			if err != nil {
				continue
			}
			for inode := range bound(f, p) {
				inodes[inode] = true
			}
			f.Close()
		}
		return nil
	})
	if who := process(inodes); who != "" {
		return who
	}
	return "another process"
}

// tcpListen is the state of listening sockets; UDP sockets have no such state.
const tcpListen = "0A"

// bound reads a list of sockets and returns the inodes of those that stand in the port's way.
func bound(r io.Reader, p Port) map[string]bool {
	inodes := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		at, ok := parseEndpoint(f[1])
		if !ok || at.Port() != p.Port || p.Protocol == "TCP" && f[3] != tcpListen {
			continue
		}
		if p.Addr.IsValid() && !at.Addr().IsUnspecified() && at.Addr() != p.Addr {
			continue
		}
		inodes[f[9]] = true
	}
	return inodes
}

// parseEndpoint reads an address and port as the kernel prints them: words of four bytes in host order, in hexadecimal.
func parseEndpoint(s string) (netip.AddrPort, bool) {
	addr, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(addr)
	n, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	a, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok
}

// process finds who has one of the sockets open.
func process(inodes map[string]bool) string {
	if len(inodes) == 0 {
		return ""
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return ""
	}
	for _, dir := range dirs {
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended, or is not ours to look into
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil || !strings.HasPrefix(link, "socket:[") {
				continue
			}
			if inodes[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] {
				pid := filepath.Base(filepath.Dir(dir))
				name, err := os.ReadFile("/proc/" + pid + "/comm")
				if err != nil {
					return "process " + pid
				}
				return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
			}
		}
	}
	return ""
}
