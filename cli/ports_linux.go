package cli

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/compose/plan"
)

// listening reads from the kernel which of these ports programs of this machine hold, and which programs. Cuppa's own do not count: its node
// holds the published ports, and the cluster says whose those are.
func listening(ports []int32) []plan.Taken {
	var found []socketRow
	for _, table := range []struct {
		file  string
		proto corev1.Protocol
		state string // of a socket that takes new connections
	}{
		{"/proc/net/tcp", corev1.ProtocolTCP, "0A"},
		{"/proc/net/tcp6", corev1.ProtocolTCP, "0A"},
		{"/proc/net/udp", corev1.ProtocolUDP, "07"},
		{"/proc/net/udp6", corev1.ProtocolUDP, "07"},
	} {
		data, err := os.ReadFile(table.file)
		if err != nil {
			continue // no such protocol here
		}
		found = append(found, parseSockets(string(data), table.proto, table.state)...)
	}
	found = slices.DeleteFunc(found, func(r socketRow) bool { return !slices.Contains(ports, r.port) })
	if len(found) == 0 {
		return nil // looking for owners means looking at every process
	}
	owners := socketOwners(found)
	var out []plan.Taken
	for _, row := range found {
		by := owners[row.inode]
		if strings.HasPrefix(by, "cuppa (") {
			continue
		}
		if by == "" {
			by = "another program of this machine"
		}
		out = append(out, plan.Taken{Port: row.port, Protocol: row.proto, HostIP: row.ip, By: by})
	}
	return out
}

type socketRow struct {
	port  int32
	proto corev1.Protocol
	ip    string
	inode string
}

// parseSockets reads one of the kernel's tables of sockets.
func parseSockets(table string, proto corev1.Protocol, state string) []socketRow {
	var out []socketRow
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != state {
			continue
		}
		address, port, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil {
			continue
		}
		out = append(out, socketRow{port: int32(n), proto: proto, ip: hexAddress(address), inode: f[9]})
	}
	return out
}

// hexAddress reads an address as the kernel prints it: groups of four bytes, each in the machine's order. "" is all addresses.
func hexAddress(text string) string {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw)%4 != 0 {
		return ""
	}
	for i := 0; i < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	ip := net.IP(raw)
	if ip.IsUnspecified() {
		return ""
	}
	return ip.String()
}

// socketOwners finds the programs that have the sockets open: "nginx (pid 812)".
func socketOwners(rows []socketRow) map[string]string {
	wanted := map[string]string{}
	for _, r := range rows {
		wanted["socket:["+r.inode+"]"] = r.inode
	}
	out := map[string]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well formed
	for _, file := range files {
		target, err := os.Readlink(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		if inode, ok := wanted[target]; ok && out[inode] == "" {
			pid := strings.Split(file, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm") // a program that has ended has no name
			out[inode] = fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return out
}
