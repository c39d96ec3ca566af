//go:build cgo

package server

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rights is what this process may give to containers. Without CAP_SYS_RESOURCE it can neither raise a hard limit nor make a process
// safer from the out-of-memory killer than it is itself, and a start that tries to fails.
type rights struct {
	sysResource bool
	oomScoreAdj int
	hard        map[string]uint64
	withheld    []string // capabilities that we do not have ourselves
}

// rlimits names the limits as OCI does.
func rlimits() map[string]int {
	return map[string]int{
		"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
		"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
		"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
		"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
		"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
		"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
	}
}

func probeRights() rights {
	r := rights{hard: map[string]uint64{}}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err == nil {
		r.sysResource = data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
	}
	for i, name := range allCapabilities() {
		if data[i/32].Permitted&(1<<(i%32)) == 0 {
			r.withheld = append(r.withheld, name)
		}
	}
	if text, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		r.oomScoreAdj, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	for name, n := range rlimits() {
		var lim unix.Rlimit
		if unix.Getrlimit(n, &lim) == nil {
			r.hard[name] = lim.Max
		}
	}
	return r
}

// protect makes the supervisor one of the last processes that the kernel kills for lack of memory. What it starts does not inherit
// that: see runnable. Without the right to, it stays as it is.
func (r rights) protect() {
	if r.sysResource {
		_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	}
}

// clamp lowers what may not be given, and says what it lowered. The process is changed in place.
func (r rights) clamp(p *specs.Process) []string {
	if p == nil {
		return nil
	}
	notes := r.clampCapabilities(p.Capabilities)
	if r.sysResource {
		return notes
	}
	for i := range p.Rlimits {
		lim := &p.Rlimits[i]
		hard, ok := r.hard[lim.Type]
		if !ok || lim.Hard <= hard {
			continue
		}
		notes = append(notes, fmt.Sprintf("%s from %d to %d", lim.Type, lim.Hard, hard))
		lim.Hard, lim.Soft = hard, min(lim.Soft, hard)
	}
	if p.OOMScoreAdj != nil && *p.OOMScoreAdj < r.oomScoreAdj {
		notes = append(notes, fmt.Sprintf("oom_score_adj from %d to %d", *p.OOMScoreAdj, r.oomScoreAdj))
		own := r.oomScoreAdj
		p.OOMScoreAdj = &own
	}
	return notes
}

// clampCapabilities takes away what we do not have, in place.
func (r rights) clampCapabilities(c *specs.LinuxCapabilities) []string {
	if c == nil || len(r.withheld) == 0 {
		return nil
	}
	var notes []string
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted, &c.Inheritable, &c.Ambient} {
		kept := slices.DeleteFunc(slices.Clone(*set), func(name string) bool { return slices.Contains(r.withheld, name) })
		if set == &c.Bounding && len(kept) < len(*set) {
			notes = append(notes, fmt.Sprintf("%d capabilities that we do not have", len(*set)-len(kept)))
		}
		*set = kept
	}
	return notes
}
