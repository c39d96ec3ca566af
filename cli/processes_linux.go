package cli

import (
	"cmp"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/cli/compose"
)

// ticks is how many clock ticks a second has in /proc; Linux shows the same number to every program.
const ticks = 100

// processes finds a container's processes on this machine: they are in a cgroup with the container's name.
func processes(containerID string) []compose.Process {
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup") // the pattern is well formed
	boot := bootTime()
	var out []compose.Process
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(groups), containerID) {
			continue // it has ended meanwhile, or is somebody else's
		}
		dir := filepath.Dir(file)
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(dir + "/cmdline") // a process that is ending has none
		if p, ok := parseStat(string(stat), boot); ok {
			p.User = owner(dir)
			if text := strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")); text != "" {
				p.Command = text
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b compose.Process) int { return cmp.Compare(a.PID, b.PID) })
	return out
}

// parseStat reads a line of /proc/PID/stat. The command stands in brackets and may hold anything, brackets too.
func parseStat(stat string, boot time.Time) (compose.Process, bool) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return compose.Process{}, false
	}
	f := strings.Fields(stat[end+1:])
	if len(f) < 20 {
		return compose.Process{}, false
	}
	number := func(text string) int64 { n, _ := strconv.ParseInt(text, 10, 64); return n }
	span := func(n int64) time.Duration { return time.Duration(n) * time.Second / ticks }
	p := compose.Process{PID: int(number(strings.TrimSpace(stat[:open]))), PPID: int(number(f[1])), TTY: "?", Command: "[" + stat[open+1:end] + "]",
		CPU: span(number(f[11]) + number(f[12])), Started: boot.Add(span(number(f[19])))}
	// Terminals of containers are pseudo-terminals, whose major numbers begin at 136.
	if tty := number(f[4]); tty>>8 >= 136 {
		p.TTY = "pts/" + strconv.FormatInt(tty&0xff, 10)
	}
	return p, true
}

func bootTime() time.Time {
	data, _ := os.ReadFile("/proc/stat") // without it, times are wrong but nothing breaks
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return time.Unix(n, 0)
		}
	}
	return time.Now()
}

// owner is the user of a process, by the node's names.
func owner(dir string) string {
	status, _ := os.ReadFile(dir + "/status") // a process that has ended has no owner
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "Uid:"); ok {
			uid := strings.Fields(text)[0]
			if u, err := user.LookupId(uid); err == nil {
				return u.Username
			}
			return uid
		}
	}
	return "?"
}
