package leak

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// owner is by what a thing shows that it belongs to this process: the process's folder, or its number.
type owner struct {
	dir  string
	pid  int
	home string // the network namespace in which the process began
}

// owns says whether a name carries the owner's mark.
func (o owner) owns(name string) bool {
	if strings.Contains(name, o.dir) {
		return true
	}
	for _, number := range numbers.FindAllString(name, -1) {
		if number == strconv.Itoa(o.pid) {
			return true
		}
	}
	return false
}

var numbers = regexp.MustCompile(`[0-9]+`)

// kind is one sort of thing that may be left behind.
type kind struct {
	name string
	list func(owner) ([]string, error) // what is there now, a line each
	hint string                        // how to find who left it
}

// kinds is the table of all but goroutines, which have stacks and so are found in another way.
var kinds = []kind{
	{"file descriptor", descriptors, "who opened it and did not close it? strace -f -e trace=desc shows the call"},
	{"process", processes, "who started it and did not wait for it?"},
	{"mount", mounts, "who mounted it and did not unmount it? grep the folder's name in the tests"},
	{"thread", threads, "who locked a goroutine to its thread, entered another network namespace and did not come back?"},
	{"cgroup", cgroups, "who made it and did not remove it? only a folder without processes and children can go"},
	{"network link", links, "who made it in the namespace that the tests run in? tests make links in namespaces of their own"},
	{"nftables table", tables, "who made it in the namespace that the tests run in? tests make tables in namespaces of their own"},
}

func descriptors(owner) ([]string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		// The folder that is being read has gone when its link is read.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out = append(out, e.Name()+" -> "+target)
		}
	}
	return out, nil
}

// processes lists those that this one has started, or that were started with its folder in their environment or arguments.
func processes(who owner) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == who.pid {
			continue
		}
		if line, ok := descendant(who, pid); ok {
			out = append(out, line)
		}
	}
	return out, nil
}

func descendant(who owner, pid int) (string, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return "", false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // state, parent, ...
	if len(fields) < 2 {
		return "", false
	}
	child := fields[1] == strconv.Itoa(who.pid)
	if fields[0] == "Z" && !child {
		return "", false // it has ended; whoever it was left to will see to it
	}
	command, _ := os.ReadFile(dir + "cmdline")
	environment, _ := os.ReadFile(dir + "environ")
	mark := []byte(who.dir)
	if !child && !bytes.Contains(command, mark) && !bytes.Contains(environment, mark) {
		return "", false
	}
	text := string(bytes.TrimSpace(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
	if fields[0] == "Z" {
		text = "ended, and nobody waits for it"
	}
	return fmt.Sprintf("%d: %s", pid, text), true
}

func mounts(who owner) ([]string, error) {
	return mountLines(func(point, line string) (string, bool) { return line, who.owns(point) })
}

// mountPoints lists where something is mounted below a folder, in the order in which it was mounted.
func mountPoints(dir string) ([]string, error) {
	return mountLines(func(point, _ string) (string, bool) { return point, strings.HasPrefix(point, dir+"/") })
}

func mountLines(pick func(point, line string) (string, bool)) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if text, ok := pick(fields[4], strings.TrimSpace(line)); ok {
			out = append(out, text)
		}
	}
	return out, nil
}

// threads lists those in another network namespace than the one the process began in.
func threads(who owner) ([]string, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if ns, err := os.Readlink("/proc/self/task/" + e.Name() + "/ns/net"); err == nil && ns != who.home {
			out = append(out, e.Name()+" in "+ns)
		}
	}
	return out, nil
}

func cgroups(who owner) ([]string, error) {
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // others' cgroups come and go while we look
		}
		if who.owns(path) {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

func links(owner) ([]string, error) {
	list, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range list {
		out = append(out, fmt.Sprintf("%s (%s)", l.Attrs().Name, l.Type()))
	}
	return out, nil
}

func tables(owner) ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range list {
		out = append(out, fmt.Sprintf("%s (family %d)", t.Name, t.Family))
	}
	return out, nil
}
