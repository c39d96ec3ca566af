package app

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/localport"
	"github.com/cuppa-project/cuppa/network/proxy"
)

// check is one thing that a server cannot do without.
type check struct {
	node bool // only a node needs it, a control plane alone does not
	run  func(Config) error
}

// checks is the table of what is looked at before anything is begun, so that a start that cannot succeed changes nothing. The order is that of
// the answers: a later one would mislead where an earlier one fails.
func checks() []check {
	return []check{
		{run: checkName},
		{run: checkListen},
		{run: checkAddresses},
		{node: true, run: checkSockets},
		{run: checkWritable},
		{run: checkRoom},
		{run: func(c Config) error { return checkPort("the API", "--listen", c.Listen) }},
		{node: true, run: func(c Config) error { return checkPort("the kubelet", "--kubelet-listen", c.KubeletListen) }},
		{node: true, run: checkNFTables},
	}
}

// preflight says at once what a server cannot do without. The run directory is locked by then: two servers do not take each other for a stranger.
func preflight(config Config) error {
	for _, c := range checks() {
		if c.node && config.NoNode {
			continue
		}
		if err := c.run(config); err != nil {
			return err
		}
	}
	return nil
}

func checkName(config Config) error {
	if reasons := validation.IsDNS1123Subdomain(config.NodeName); len(reasons) > 0 {
		return errkind.New(errkind.Invalid, "%q cannot be a node's name: %s; choose another with --node-name", config.NodeName, reasons[0])
	}
	return nil
}

func checkListen(config Config) error {
	for _, l := range []struct{ flag, address string }{{"--listen", config.Listen}, {"--kubelet-listen", config.KubeletListen}} {
		flag, address := l.flag, l.address
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return errkind.New(errkind.Invalid, `%s %q: want ADDRESS:PORT, or :PORT for all addresses`, flag, address)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errkind.New(errkind.Invalid, "%s %q: %q is no port: want a number from 1 to 65535", flag, address, port)
		}
		if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
			return errkind.New(errkind.Invalid, "%s %q: %q is no IP address of this machine", flag, address, host)
		}
	}
	return nil
}

// checkAddresses reads the addresses before any of them is written down.
func checkAddresses(config Config) error {
	if _, err := netip.ParseAddr(config.NodeIP); config.NodeIP != "" && err != nil {
		return errkind.New(errkind.Invalid, "--node-ip %q is no IP address", config.NodeIP)
	}
	var ranges []netip.Prefix
	for _, r := range []struct{ flag, value string }{{"--pod-cidr", config.PodCIDR}, {"--service-cidr", config.ServiceCIDR}} {
		if r.value == "" {
			continue
		}
		p, err := netip.ParsePrefix(r.value)
		if err != nil {
			return errkind.New(errkind.Invalid, "%s %q is no range of addresses: want one like 10.42.0.0/16", r.flag, r.value)
		}
		ranges = append(ranges, p)
	}
	if len(ranges) == 2 && ranges[0].Overlaps(ranges[1]) {
		return errkind.New(errkind.Invalid, "--pod-cidr %s and --service-cidr %s overlap: pods and Services need addresses of their own", ranges[0], ranges[1])
	}
	return nil
}

func checkRoom(config Config) error {
	if err := snapshot.Require(config.DataDir, 0); err != nil {
		return errkind.New(errkind.Of(err), "%w; or choose another place with --data-dir", err)
	}
	return nil
}

// checkSockets holds that the names of sockets below the run directory fit into what the kernel allows for one.
func checkSockets(config Config) error {
	const longest = "supervisor.sock"
	limit := len(unix.RawSockaddrUnix{}.Path) - 1
	if n := len(filepath.Join(config.RunDir, longest)); n > limit {
		return errkind.New(errkind.Invalid, "the run directory %s is too long: the sockets below it may have names of %d bytes; choose a directory at least %d bytes shorter with --run-dir",
			config.RunDir, limit, n-limit)
	}
	return nil
}

// makeDirs makes the directories. Each is named by its flag, for that is what the reader can change.
func makeDirs(config Config) error {
	for _, d := range directories(config) {
		if err := os.MkdirAll(d.path, 0o711); err != nil {
			return d.refuse(err)
		}
	}
	return nil
}

func checkWritable(config Config) error {
	for _, d := range directories(config) {
		f, err := os.CreateTemp(d.path, ".writable.*")
		if err != nil {
			return d.refuse(err)
		}
		f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return d.refuse(err)
		}
	}
	return nil
}

type directory struct{ what, flag, path string }

func directories(config Config) []directory {
	return []directory{{"data directory", "--data-dir", config.DataDir}, {"run directory", "--run-dir", config.RunDir}}
}

func (d directory) refuse(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return errkind.New(errkind.Exhausted, "%s %s: no space left on device: make room on the disk, or choose another place with %s", d.what, d.path, d.flag)
	}
	reason := err
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		reason = path.Err // the path is in the message already, and that of a file made for the test means nothing to the reader
	}
	return errkind.New(errkind.Precondition, "%s %s cannot be written: %w; choose another place with %s", d.what, d.path, reason, d.flag)
}

// checkPort tries whether a port can be had.
func checkPort(what, flag, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return portError(what, flag, address, err)
	}
	return l.Close()
}

// portError says who has the port.
func portError(what, flag, address string, err error) error {
	if !errors.Is(err, unix.EADDRINUSE) {
		return errkind.New(errkind.Precondition, "listen for %s on %s: %w; choose another address with %s", what, address, err, flag)
	}
	by := "another process"
	if at, err := netip.ParseAddrPort(allAddresses(address)); err == nil {
		p := localport.Port{Port: at.Port(), Protocol: "TCP"}
		if !at.Addr().IsUnspecified() {
			p.Addr = at.Addr()
		}
		by = localport.Holder(p)
	}
	return errkind.New(errkind.Precondition, "listen for %s on %s: the port is taken by %s; end it, or choose another port with %s", what, address, by, flag)
}

// allAddresses writes an address as netip reads it.
func allAddresses(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// checkNFTables has the kernel examine the rules of a node without loading them. Which ranges they are for does not matter to it.
func checkNFTables(config Config) error {
	p, err := proxy.New(proxy.Config{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return lacksNFTables(err)
	}
	return p.Close()
}

// lacksNFTables adds what can be done when the kernel knows nftables, but not all that the rules speak of: it answers that there is no such thing.
func lacksNFTables(err error) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	return errkind.New(errkind.Precondition, "%w: the kernel lacks a part of nftables: load it with `modprobe -a nft_chain_nat nft_nat nft_masq nft_ct nft_fib_ipv4 nft_reject_ipv4`, or boot a kernel that has it", err)
}
