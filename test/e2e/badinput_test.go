package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// withoutNFTables is the variable by which a test asks its own program to become cuppa on a kernel without nftables.
const withoutNFTables = "E2E_WITHOUT_NFTABLES"

func TestMain(m *testing.M) {
	if path := os.Getenv(withoutNFTables); path != "" {
		fmt.Fprintln(os.Stderr, becomeWithoutNFTables(path))
		os.Exit(1)
	}
	leak.Main(m)
}

// becomeWithoutNFTables runs a program for which the kernel knows no nftables: its sockets cannot be made.
func becomeWithoutNFTables(path string) error {
	const number, domain, protocol = 0, 16, 32 // offsets of the call's number, and of its first and third argument
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	const allow, refuse = 0x7fff0000, 0x00050000
	program := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 5),
		load(domain), unless(unix.AF_NETLINK, 3),
		load(protocol), unless(unix.NETLINK_NETFILTER, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: refuse | uint32(unix.EPROTONOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const allThreads = 1 // SECCOMP_FILTER_FLAG_TSYNC: whichever thread goes on to become the program
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, 1, allThreads, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		return errno
	}
	os.Unsetenv(withoutNFTables)
	return unix.Exec(path, append([]string{"cuppa"}, os.Args[1:]...), os.Environ())
}

// transcript collects what was typed and what was answered, for a golden file.
type transcript struct {
	n    *node
	text strings.Builder
}

// add notes one exchange: what was wrong, the command, its outputs and its exit code.
func (tr *transcript) add(about, command, stdout, stderr string, code int) {
	fmt.Fprintf(&tr.text, "# %s\n$ %s\n", about, command)
	for _, out := range []struct{ mark, text string }{{"", stdout}, {"E| ", stderr}} {
		for line := range strings.Lines(out.text) {
			fmt.Fprintf(&tr.text, "%s%s\n", out.mark, strings.TrimRight(line, "\n"))
		}
	}
	fmt.Fprintf(&tr.text, "exit code %d\n\n", code)
}

// check compares all of it with the golden file, with names in place of what differs from run to run.
func (tr *transcript) check(name string) {
	tr.n.t.Helper()
	text := strings.ReplaceAll(tr.text.String(), tr.n.dir, "DIR")
	for _, r := range []struct{ pattern, with string }{
		{`\(pid \d+\)`, "(pid PID)"},
		{`process \d+ \(`, "process PID ("},
		{`time=\S+ `, ""},
		{`sha256:[0-9a-f]{12,}`, "sha256:DIGEST"},
		{`(?m)^(E\| )?(#\d+) \d+\.\d+ `, "$1$2 TIME "},
		{`(?m)^(E\| )?\d+\.\d+ `, "${1}TIME "},
		{`\d+\.\d+s( done)?`, "TIME$1"},
		{`\(\d+\.\d+ s\)`, "(TIME s)"},
		{`ref cuppa::\w+`, "ref REF"},
		{`lookup ([\w.-]+)( on \S+)?: [^(\n]*[^(\n ]`, "lookup $1: REASON"}, // what this machine's resolver says without a network
		{`\d+\+0 records`, "N+0 records"},
		{`at least \d+ bytes shorter`, "at least N bytes shorter"},
		{`has \d+ MiB free`, "has N MiB free"},
		{`transferring (\w+): \d+\w*B`, "transferring $1: SIZE"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	testkit.Golden(tr.n.t, name, text)
}

// run runs a cuppa command and notes the exchange.
func (tr *transcript) run(about, dir string, args ...string) (code int) {
	stdout, stderr, code := tr.n.cuppaIn(dir, args...)
	tr.add(about, "cuppa "+strings.Join(args, " "), stdout, stderr, code)
	return code
}

// as runs cuppa behind another program that takes rights away from it. The program may not be able to walk to where cuppa lies, so it gets
// it as an open file.
func (n *node) as(env []string, prefix []string, args ...string) (stderr string, code int) {
	n.t.Helper()
	f, err := os.Open(binary(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	all := slices.Concat([]string{"--net=/run/netns/" + n.netns, "--"}, prefix, args)
	cmd := exec.Command("nsenter", all...)
	cmd.Env = append(n.command("/").Env, env...)
	cmd.ExtraFiles = []*os.File{f}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		n.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// clean waits until nothing of the node is left: a refused start has been refused whole. Processes take a moment to end.
func (n *node) clean(about string) {
	n.t.Helper()
	testkit.Eventually(n.t, 5*time.Second, func() error {
		left := n.remains()
		for _, name := range []string{"supervisor.sock", "docker.sock", "dns.sock"} {
			if _, err := os.Lstat(filepath.Join(n.run, name)); err == nil {
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%s: left behind: %s", about, strings.Join(left, "\n"))
		}
		return nil
	})
}

// tmpfs mounts a small disk for as long as the returned function is not called.
func (n *node) tmpfs(dir, options string) (unmount func()) {
	n.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	n.must("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
	undo := func() { unix.Unmount(dir, unix.MNT_DETACH) }
	n.t.Cleanup(undo)
	return undo
}

// holdPort has a program listen on a port until the returned function is called.
func (n *node) holdPort(port string) (release func()) {
	n.t.Helper()
	cmd := exec.Command("nsenter", "--net=/run/netns/"+n.netns, "--", "busybox", "nc", "-l", "-p", port)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.eventually(func() error { return contains(n.inside("ss", "-Hltn"), ":"+port) })
	end := func() { cmd.Process.Kill(); cmd.Wait() }
	n.t.Cleanup(end)
	return end
}

// damage overwrites a file, or all files below a directory, with what is no content of theirs; the returned function brings them back.
func (n *node) damage(name string) (restore func()) {
	n.t.Helper()
	root := filepath.Join(n.data, name)
	before := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		before[path] = raw
		return os.WriteFile(path, []byte("garbage\n"), 0o600)
	})
	if err != nil || len(before) == 0 {
		n.t.Fatalf("damage %s: %d files, %v", root, len(before), err)
	}
	return func() {
		for path, raw := range before {
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				n.t.Error(err)
			}
		}
	}
}

// TestRefusedStart holds that a server that cannot run says so at once and clearly, leaves nothing behind, and that the next start works.
func TestRefusedStart(t *testing.T) {
	n := newMachine(t)
	tr := &transcript{n: n}
	data, run := n.data, n.run
	tr.lacksRights()
	tr.lacksPlace()
	tr.wrongFlags()

	if n.data != data || n.run != run {
		t.Fatal("the node's directories were not set back")
	}
	n.cuppa("server", "start")
	tr.run("a second server in the same run directory", n.dir, "server")
	tr.run("a second server with the same data directory", n.dir, "server", "--run-dir", n.dir+"/run2", "--listen", ":7443", "--kubelet-listen", ":11250")
	if entries, _ := os.ReadDir(n.dir + "/run2"); len(entries) > 1 {
		t.Errorf("the second server left %v", entries)
	}
	n.kubectl("get", "nodes")
	n.cuppa("server", "stop", "--all")
	tr.run("other ranges than at the first start", n.dir, "server", "start", "--pod-cidr", "10.99.0.0/16")
	n.clean("other ranges")
	tr.damagedFiles()
	n.cuppa("server", "start")
	n.kubectl("get", "nodes")
	tr.check("start.golden")
}

func (tr *transcript) lacksRights() {
	n := tr.n
	n.t.Helper()
	cuppa := "/proc/self/fd/3"
	out, code := n.as(nil, []string{"setpriv", "--reuid", "65534", "--clear-groups", cuppa}, "server", "start")
	tr.add("no root", "cuppa server start", "", out, code)
	n.clean("no root")
	out, code = n.as(nil, []string{"setpriv", "--bounding-set", "-net_admin,-mknod", "--inh-caps", "-net_admin,-mknod", cuppa}, "server", "start")
	tr.add("root without some of its rights", "cuppa server start", "", out, code)
	n.clean("no rights")
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	out, code = n.as([]string{withoutNFTables + "=" + cuppa}, []string{self}, "server", "start")
	tr.add("no nftables in the kernel", "cuppa server start", "", out, code)
	n.clean("no nftables")
}

func (tr *transcript) lacksPlace() {
	n := tr.n
	n.t.Helper()
	for _, c := range []struct {
		about, dir, options string
	}{
		{"no room on the disk", n.data, "size=4m"},
		{"no room at all", n.data, "size=4k,nr_inodes=1"},
		{"a read-only data directory", n.data, "ro"},
		{"a read-only run directory", n.run, "ro"},
	} {
		unmount := n.tmpfs(c.dir, c.options)
		tr.run(c.about, n.dir, "server", "start")
		unmount()
		n.clean(c.about)
	}
	for _, c := range []struct{ about, port string }{{"the API's port is taken", "6443"}, {"the kubelet's port is taken", "10250"}} {
		release := n.holdPort(c.port)
		tr.run(c.about, n.dir, "server", "start")
		release()
		n.clean(c.about)
	}
	tr.withoutOverlay()
}

// withoutOverlay starts on a disk that overlayfs cannot be mounted on: it goes on with copies, and says so.
func (tr *transcript) withoutOverlay() {
	n := tr.n
	n.t.Helper()
	at := func(name string) string { return filepath.Join(n.dir, "overlay", name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	n.must("mount", "-t", "overlay", "overlay", "-o", "lowerdir="+at("lower")+",upperdir="+at("upper")+",workdir="+at("work"), at("merged"))
	defer unix.Unmount(at("merged"), unix.MNT_DETACH)
	before := n.data
	n.data = at("merged/data")
	defer func() { n.data = before }()
	tr.run("no overlayfs", n.dir, "server", "start")
	n.busybox()
	n.kubectl("run", "copied", "--image=busybox", "--image-pull-policy=Never", "--restart=Never", "--", "true")
	n.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/copied", "--timeout=20s")
	n.cuppa("server", "stop", "--all")
}

func (tr *transcript) wrongFlags() {
	n := tr.n
	n.t.Helper()
	for _, args := range [][]string{
		{"--listen", "nonsense"},
		{"--listen", ":http"},
		{"--kubelet-listen", "example.com:10250"},
		{"--node-ip", "nonsense"},
		{"--node-name", "My_Node"},
		{"--pod-cidr", "nonsense"},
		{"--pod-cidr", "10.0.0.0/8", "--service-cidr", "10.1.0.0/16"},
		{"--log-level", "loud"},
		{"--run-dir", n.dir + "/" + strings.Repeat("x", 100)},
	} {
		tr.run("wrong flags", n.dir, append([]string{"server", "start"}, args...)...)
		n.clean(strings.Join(args, " "))
	}
}

func (tr *transcript) damagedFiles() {
	n := tr.n
	n.t.Helper()
	for _, name := range []string{"pki/ca.crt", "pki/service-accounts.key", "ranges.json", "etcd/member/snap/db", "etcd/member/wal", "images/content/meta.db", "images/content/boot"} {
		restore := n.damage(name)
		tr.run("damaged: "+name, n.dir, "server", "start")
		restore()
		n.clean(name)
		n.cuppa("server", "start")
		n.kubectl("get", "nodes")
		n.cuppa("server", "stop", "--all")
	}
}

// project is a Compose project that is wrong.
type project struct {
	about string
	file  string            // docker-compose.yml
	more  map[string]string // other files
	args  []string          // of cuppa; nil: up -d
	quiet bool              // only the last lines of what it says are of interest: the steps of a build differ from run to run
}

const sleeper = "services:\n  web:\n    image: busybox\n    command: sleep 1000\n    stop_signal: KILL\n"

func projects() []project {
	long := strings.Repeat("x", 70)
	one := func(line string) string { return "services:\n  web:\n    image: busybox\n    " + line + "\n" }
	built := "services:\n  web:\n    build: ctx\n"
	dockerfile := func(text string) map[string]string { return map[string]string{"ctx/Dockerfile": text} }
	return []project{
		{about: "no file", args: []string{"up", "-d"}},
		{about: "a file that is not there", args: []string{"-f", "nosuch.yml", "up", "-d"}},
		{about: "syntax error", file: "services:\n  web:\n    image: busybox\n   command: [sleep\n"},
		{about: "unknown keys", file: one("comand: sleep 1\n    prots: ['80']")},
		{about: "missing build context", file: "services:\n  web:\n    build: ./nosuch\n"},
		{about: "missing Dockerfile", file: built, more: map[string]string{"ctx/file": ""}},
		{about: "neither image nor build", file: "services:\n  web:\n    command: x\n"},
		{about: "unknown image", file: "services:\n  web:\n    image: nosuch/image:1\n"},
		{about: "unknown registry", file: "services:\n  web:\n    image: localhost:5999/image:1\n"},
		{about: "image name in upper case", file: "services:\n  web:\n    image: Busybox\n"},
		{about: "dependency cycle", file: "services:\n  a: {image: busybox, depends_on: [b]}\n  b: {image: busybox, depends_on: [c]}\n  c: {image: busybox, depends_on: [a]}\n"},
		{about: "dependency on what is not there", file: one("depends_on: [nosuch]")},
		{about: "service name too long", file: "services:\n  " + long + ": {image: busybox}\n"},
		{about: "project name too long", file: sleeper, args: []string{"-p", long, "up", "-d"}},
		{about: "invalid project name", file: sleeper, args: []string{"-p", "A b!", "up", "-d"}},
		{about: "error in a Dockerfile", file: built, more: dockerfile("FROM busybox\nRUN true\nRUNN false\n"), quiet: true},
		{about: "a step that fails", file: built, more: dockerfile("FROM busybox\nRUN echo before >&2; echo oops >&2; exit 7\n"), quiet: true},
		{about: "a copy of what is not there", file: built, more: dockerfile("FROM busybox\nCOPY nosuch /\n"), quiet: true},
		{about: "an unknown base image", file: built, more: dockerfile("FROM nosuch/base:1\n"), quiet: true},
		{about: "scale without a number", file: sleeper, args: []string{"up", "-d", "--scale", "web=x"}},
		{about: "negative scale", file: sleeper, args: []string{"up", "-d", "--scale", "web=-1"}},
		{about: "scale without =", file: sleeper, args: []string{"up", "-d", "--scale", "web"}},
		{about: "scale of an unknown service", file: sleeper, args: []string{"up", "-d", "--scale", "wbe=2"}},
		{about: "unknown service", file: sleeper, args: []string{"up", "-d", "wbe"}},
		{about: "unknown flag", file: sleeper, args: []string{"up", "--nosuch"}},
		{about: "unknown verb", file: sleeper, args: []string{"upp"}},
		{about: "flags that exclude each other", file: sleeper, args: []string{"up", "-d", "--abort-on-container-exit"}},
		{about: "invalid durations", file: one("healthcheck: {test: 'true', interval: 5 parsecs}\n    stop_grace_period: soon")},
		{about: "invalid size", file: one("mem_limit: much")},
		{about: "port out of range", file: one("ports: ['80000:80']")},
		{about: "port that is no number", file: one("ports: ['http:80']")},
		{about: "wrong type", file: one("cpus: many")},
		{about: "unknown restart policy", file: one("restart: allways")},
		{about: "missing env_file", file: one("env_file: nosuch.env")},
		{about: "undefined volume", file: one("volumes: ['data:/data']")},
		{about: "undefined variable that must be set", file: one("command: ${NOSUCH:?set it to the command}")},
	}
}

// TestRefusedUp holds that what is wrong with a project is said with its place, that nothing of it has been begun, and that the next `up` works.
func TestRefusedUp(t *testing.T) {
	n := newNode(t)
	n.busybox()
	tr := &transcript{n: n}
	for _, p := range projects() {
		tr.refused(p)
	}
	tr.noAdministrator()
	tr.portsTaken()
	tr.startErrors()
	tr.check("up.golden")
}

// refused runs a wrong project. No namespace may be there afterwards that was not before.
func (tr *transcript) refused(p project) {
	n := tr.n
	n.t.Helper()
	dir := filepath.Join(n.dir, "proj")
	if err := os.RemoveAll(dir); err != nil {
		n.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	for name, text := range p.more {
		n.write("proj/"+name, text)
	}
	if p.file != "" {
		n.write("proj/docker-compose.yml", p.file)
	}
	args := p.args
	if args == nil {
		args = []string{"up", "-d"}
	}
	before, began := n.objects(), time.Now()
	stdout, stderr, code := n.cuppaIn(dir, args...)
	if took := time.Since(began); took > 10*time.Second {
		n.t.Errorf("%s: refused after %s", p.about, took)
	}
	if code == 0 {
		n.t.Errorf("%s: cuppa %s succeeded", p.about, strings.Join(args, " "))
	}
	if p.quiet {
		stdout = failedStep(stdout)
	}
	tr.add(p.shown(), "cuppa "+strings.Join(args, " "), stdout, stderr, code)
	if after := n.objects(); after != before {
		n.t.Errorf("%s: something was begun: there was\n%s\nis\n%s", p.about, before, after)
	}
}

// shown is what is wrong, and the files that are wrong.
func (p project) shown() string {
	out := p.about
	for _, f := range []struct{ name, text string }{{"docker-compose.yml", p.file}, {"ctx/Dockerfile", p.more["ctx/Dockerfile"]}} {
		if f.text == "" || f.text == sleeper {
			continue
		}
		out += "\n# " + f.name
		for line := range strings.Lines(f.text) {
			out += "\n|   " + strings.TrimSuffix(line, "\n")
		}
	}
	return out
}

// failedStep is what a build shows of the step that failed, at its end.
func failedStep(out string) string {
	_, after, found := strings.Cut(out, "------\n")
	if !found {
		return ""
	}
	return "------\n" + after
}

// objects is everything that a project could be made of.
func (n *node) objects() string {
	n.t.Helper()
	return n.kubectl("get", "namespaces,deployments,replicasets,services,pods", "-A", "-o", "name")
}

// noAdministrator runs verbs as a user to whom neither the node nor the cluster belongs.
func (tr *transcript) noAdministrator() {
	n := tr.n
	n.t.Helper()
	n.write("proj/docker-compose.yml", sleeper)
	for _, dir := range []string{filepath.Dir(n.dir), n.dir, n.dir + "/proj"} {
		if err := os.Chmod(dir, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"-f", n.dir + "/proj/docker-compose.yml", "up", "-d"}, {"image", "ls"}, {"kubectl", "get", "pods"}, {"kubeconfig"}, {"server", "status"}, {"server", "stop"}} {
		out, code := n.as(nil, []string{"setpriv", "--reuid", "65534", "--clear-groups", "/proc/self/fd/3"}, args...)
		if code == 0 {
			n.t.Errorf("cuppa %v succeeded without rights", args)
		}
		tr.add("another user than root", "cuppa "+strings.Join(args, " "), "", out, code)
	}
}

// portsTaken publishes a port that a program of the machine has, and one that another project has.
func (tr *transcript) portsTaken() {
	n := tr.n
	n.t.Helper()
	publishing := sleeper + "    ports: ['8000:80']\n"
	release := n.holdPort("8000")
	tr.refused(project{about: "a port that a program has", file: publishing})
	release()
	n.write("other/docker-compose.yml", publishing)
	n.cuppaAt(n.dir+"/other", "up", "-d")
	tr.refused(project{about: "a port that another project has", file: publishing})
	n.cuppaAt(n.dir+"/other", "down", "-t", "0")
	// The same file, unchanged, is right now.
	n.cuppaAt(n.dir+"/proj", "up", "-d")
	if out := n.cuppaAt(n.dir+"/proj", "ps"); !strings.Contains(out, "Up") {
		n.t.Errorf("ps after the port was given back:\n%s", out)
	}
	tr.run("a change of what runs that cannot be made", n.dir+"/proj", "scale", "web=x")
	n.write("proj/docker-compose.yml", strings.Replace(publishing, "image:", "imag:", 1))
	before := n.objects()
	tr.run("a file that was right and is wrong now", n.dir+"/proj", "up", "-d")
	if after := n.objects(); after != before {
		n.t.Errorf("a wrong file changed what runs: there was\n%s\nis\n%s", before, after)
	}
	n.write("proj/docker-compose.yml", publishing)
	n.cuppaAt(n.dir+"/proj", "down", "-t", "0")
}

// startErrors are found when a container starts, as late as with docker-compose: the project is there, and shows what is wrong.
func (tr *transcript) startErrors() {
	n := tr.n
	n.t.Helper()
	for _, c := range []struct{ about, line string }{
		{"a command that is not in the image", "command: /no/such"},
		{"a user that is not in the image", "user: nosuch"},
		{"a working directory that is a file", "working_dir: /etc/passwd"},
	} {
		n.write("proj/docker-compose.yml", "services:\n  web:\n    image: busybox\n    "+c.line+"\n")
		tr.run(c.about, n.dir+"/proj", "up", "-d")
		n.write("proj/docker-compose.yml", sleeper)
		n.cuppaAt(n.dir+"/proj", "up", "-d")
		if out := n.cuppaAt(n.dir+"/proj", "ps"); !strings.Contains(out, "Up") {
			n.t.Errorf("%s: ps after it was put right:\n%s", c.about, out)
		}
		n.cuppaAt(n.dir+"/proj", "down", "-t", "0")
	}
}

// TestFullDisk fills the node's disk: work that does not fit is refused, what runs goes on, and with room again everything works.
func TestFullDisk(t *testing.T) {
	n := newMachine(t)
	n.tmpfs(n.data, "size=160m")
	t.Cleanup(func() { n.cuppaIn(n.dir, "server", "stop", "--all") }) // while there still is its disk
	n.cuppa("server", "start")
	n.busybox()
	tr := &transcript{n: n}
	fill := filepath.Join(n.data, "fill")
	n.write("proj/docker-compose.yml", sleeper)
	n.cuppaAt(n.dir+"/proj", "up", "-d")
	n.write("built/docker-compose.yml", "services:\n  web:\n    build: .\n")
	n.write("built/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=400\n")
	before := n.objects()
	stdout, stderr, code := n.cuppaIn(n.dir+"/built", "up", "-d")
	tr.add("a step of a build that fills the disk", "cuppa up -d", failedStep(stdout), stderr, code)
	n.awaitRoom()
	tr.run("an image that fills the disk while it is unpacked", n.dir, "image", "load", "-i", n.largeImage(200<<20))
	if out := n.cuppa("image", "ls"); strings.Contains(out, "large") {
		t.Errorf("an image of which only a part could be unpacked is listed:\n%s", out)
	}
	n.awaitRoom()

	n.fill(fill)
	tr.run("an image for which there is no room", n.dir, "image", "load", "-i", filepath.Join(n.dir, "busybox.tar"))
	n.write("built/Dockerfile", "FROM busybox\nRUN true\n")
	tr.run("a build for which there is no room", n.dir+"/built", "up", "-d")
	if after := n.objects(); after != before {
		t.Errorf("on a full disk: there was\n%s\nis\n%s", before, after)
	}
	if out := n.cuppaAt(n.dir+"/proj", "ps"); !strings.Contains(out, "Up") {
		t.Errorf("ps on a full disk:\n%s", out)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	n.cuppaAt(n.dir+"/built", "up", "--build", "-d")
	n.cuppaAt(n.dir+"/built", "down", "-t", "0")
	n.cuppaAt(n.dir+"/proj", "down", "-t", "0")
	n.cuppa("server", "stop", "--all")
	tr.check("disk.golden")
}

// awaitRoom waits for what failed to give back, after a moment, what it wrote.
func (n *node) awaitRoom() {
	n.t.Helper()
	n.eventually(func() error {
		if free := n.room(); free < 64<<20 {
			return fmt.Errorf("%d MiB are free", free>>20)
		}
		return nil
	})
}

// largeImage is an archive that is small, of an image with a file of many zeros.
func (n *node) largeImage(size int64) string {
	n.t.Helper()
	path := filepath.Join(n.dir, "large.tar")
	var layer bytes.Buffer
	packed, err := gzip.NewWriterLevel(&layer, gzip.BestSpeed)
	if err != nil {
		n.t.Fatal(err)
	}
	sum := sha256.New()
	one := func(w *tar.Writer, name string, size int64, content io.Reader) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
			n.t.Fatal(err)
		}
		if _, err := io.CopyN(w, content, size); err != nil {
			n.t.Fatal(err)
		}
	}
	files := tar.NewWriter(io.MultiWriter(packed, sum))
	one(files, "zeros", size, zeros{})
	if err := errors.Join(files.Close(), packed.Close()); err != nil {
		n.t.Fatal(err)
	}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`, sum.Sum(nil))
	f, err := os.Create(path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	archive := tar.NewWriter(f)
	for name, text := range map[string]string{"config.json": config, "layer.tar": layer.String(),
		"manifest.json": `[{"Config":"config.json","RepoTags":["large:latest"],"Layers":["layer.tar"]}]`} {
		one(archive, name, int64(len(text)), strings.NewReader(text))
	}
	if err := archive.Close(); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// room is how many bytes are free on the disk of the data directory.
func (n *node) room() int64 {
	n.t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(n.data, &disk); err != nil {
		n.t.Fatal(err)
	}
	return int64(disk.Bavail) * disk.Bsize
}

// fill leaves a megabyte of the disk.
func (n *node) fill(path string) {
	n.t.Helper()
	f, err := os.Create(path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, n.room()-1<<20); err != nil {
		n.t.Fatal(err)
	}
}

// TestRefusedRequests is a spot check of what the API answers on a whole node; the API server's own tests go through all of it.
func TestRefusedRequests(t *testing.T) {
	n := newNode(t)
	tr := &transcript{n: n}
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n%s"
	deployment, _, _ := strings.Cut(web, "---\n")
	n.write("good.yaml", fmt.Sprintf(configMap, "good", "data: {a: b}\n"))
	n.kubectl("create", "-f", "good.yaml")
	n.write("stale.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good, namespace: default, resourceVersion: '1'}\ndata: {a: c}\n")
	n.write("syntax.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n")
	n.write("unknown.yaml", fmt.Sprintf(configMap, "unknown", "dta: {a: b}\n"))
	n.write("name.yaml", fmt.Sprintf(configMap, "Not_A_Name", ""))
	n.write("kind.yaml", "apiVersion: v1\nkind: Pood\nmetadata: {name: x}\n")
	n.write("type.yaml", strings.Replace(deployment, "replicas: 2", "replicas: two", 1))
	n.write("invalid.yaml", strings.Replace(deployment, "image: busybox", "image: ''", 1))
	for _, c := range []struct {
		about string
		args  []string
	}{
		{"no YAML", []string{"create", "-f", "syntax.yaml"}},
		{"an unknown field", []string{"create", "-f", "unknown.yaml"}},
		{"an unknown field, and a client that wants only a warning", []string{"create", "--validate=warn", "-f", "unknown.yaml"}},
		{"a wrong type", []string{"apply", "--server-side", "-f", "type.yaml"}},
		{"an invalid value", []string{"create", "-f", "invalid.yaml"}},
		{"a stale resourceVersion", []string{"replace", "-f", "stale.yaml"}},
		{"an invalid name", []string{"create", "-f", "name.yaml"}},
		{"an unknown kind", []string{"create", "--validate=false", "-f", "kind.yaml"}},
		{"an unknown resource", []string{"get", "poods"}},
		{"an unknown object", []string{"get", "pod", "nosuch"}},
		{"an unknown namespace", []string{"create", "-n", "nosuch", "configmap", "x"}},
		{"what is there already", []string{"create", "-f", "good.yaml"}},
		{"an invalid label selector", []string{"get", "pods", "-l", "a in"}},
		{"an unknown field selector", []string{"get", "pods", "--field-selector", "spec.color=red"}},
		{"logs of what is not there", []string{"logs", "nosuch"}},
	} {
		tr.run(c.about, n.dir, append([]string{"kubectl"}, c.args...)...)
	}
	if left := n.kubectl("get", "deployments,services,pods,configmaps", "-o", "name"); strings.Count(left, "\n") != 4 {
		t.Errorf("objects that were refused are there: want the service and configmap of the cluster, good and unknown; have\n%s", left)
	}
	tr.requests()
	tr.check("requests.golden")
}

// requests are those that kubectl would not send.
func (tr *transcript) requests() {
	n := tr.n
	n.t.Helper()
	admin := []string{"--cert", n.data + "/pki/admin.crt", "--key", n.data + "/pki/admin.key"}
	token := []string{"-H", "Authorization: Bearer " + strings.TrimSpace(n.kubectl("create", "token", "default"))}
	json := []string{"-H", "Content-Type: application/json"}
	large := n.write("large.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"large"},"data":{"a":"`+strings.Repeat("x", 4<<20)+`"}}`)
	const maps, secrets = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
	for _, c := range []struct {
		about, path string
		args        [][]string
	}{
		{"malformed JSON", maps, [][]string{admin, json, {"-d", `{"kind": "ConfigMap", `}}},
		{"no JSON at all", maps, [][]string{admin, json, {"-d", `hello`}}},
		{"a body of more than 3 MB", maps, [][]string{admin, json, {"-d", "@" + large}}},
		{"a content type that is not known", maps, [][]string{admin, {"-H", "Content-Type: text/plain", "-d", "hello"}}},
		{"the wrong kind for the path", maps, [][]string{admin, json, {"-d", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`}}},
		{"an unknown path", "/apis/nosuch/v1/things", [][]string{admin}},
		{"a method that is not there", "/version", [][]string{admin, {"-X", "DELETE"}}},
		{"an invalid limit", maps + "?limit=many", [][]string{admin}},
		{"no credentials", maps, nil},
		{"an invalid token", maps, [][]string{{"-H", "Authorization: Bearer nonsense"}}},
		{"a service account that may not", secrets, [][]string{token}},
	} {
		args := slices.Concat([]string{"curl", "-sS", "--max-time", "10", "-w", `\n%{http_code}\n`, "--cacert", n.data + "/pki/ca.crt"}, slices.Concat(c.args...), []string{"https://127.0.0.1:6443" + c.path})
		out, err := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.netns, "--"}, args...)...).CombinedOutput()
		if err != nil {
			n.t.Errorf("%s: %v\n%s", c.about, err, out)
		}
		tr.add(c.about, "curl "+c.path, string(out), "", 0)
	}
}
