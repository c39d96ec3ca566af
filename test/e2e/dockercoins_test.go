package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// coins is what the page asks for.
type coins struct {
	Coins, Hashes int64
	Now           float64
}

// dockerCoins copies the example, builds its programs, and loads redis.
func dockerCoins(n *node) (dir string) {
	t := n.t
	source, err := filepath.Abs("../../examples/dockercoins")
	if err != nil {
		t.Fatal(err)
	}
	n.must("make", "-s", "-C", source)
	dir = filepath.Join(n.dir, "dockercoins")
	n.must("cp", "-r", source, dir)
	script, err := filepath.Abs("../../scripts/redis-image.sh")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(n.dir, "redis.tar")
	n.must(script, image)
	n.cuppa("image", "load", "-i", image)
	return dir
}

func (n *node) json() (coins, error) {
	out, err := exec.Command("nsenter", "--net=/run/netns/"+n.netns, "--", "curl", "-sS", "--max-time", "3", "http://localhost:8000/json").CombinedOutput()
	var c coins
	if err != nil {
		return c, fmt.Errorf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		return c, fmt.Errorf("%v: %s", err, out)
	}
	return c, nil
}

// speed is the mining speed over a time, in hashes per second.
func (n *node) speed(over time.Duration) float64 {
	n.t.Helper()
	first, err := n.json()
	if err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(over) // a rate cannot be measured without letting time pass
	last, err := n.json()
	if err != nil {
		n.t.Fatal(err)
	}
	return float64(last.Hashes-first.Hashes) / (last.Now - first.Now)
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("%s: got %.2f, want %.1f ± %.1f", what, got, want, tolerance)
	}
}

// TestDockerCoins is the tutorial, step by step, and what may go wrong on the way.
func TestDockerCoins(t *testing.T) {
	n := newNode(t)
	dir := dockerCoins(n)
	// Nothing is running yet, so this also holds that a killed `up` is finished by the next one.
	interrupted(n, dir)
	n.cuppaAt(dir, "up", "-d")
	n.eventually(func() error { _, err := n.json(); return err })

	steps := []struct {
		name string
		run  func(*testing.T, *node, string)
	}{
		{"UpAgainChangesNothing", upAgain},
		{"LightVerbsAreLight", lightVerbs},
		{"OneWorker", func(t *testing.T, n *node, _ string) { within(t, "one worker", n.speed(10*time.Second), 3.3, 0.5) }},
		{"ScaleToTwoShowsInLogs", scaleToTwo},
		{"TenWorkersFindTheBottleneck", tenWorkers},
		{"ServerKilled", serverKilled},
		{"ProcessKilled", processKilled},
		{"PodDeleted", podDeleted},
		{"RollingUpdateLosesNothing", rollingUpdate},
		{"EditThePage", editPage},
		{"StopAndStart", stopAndStart},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			inner := *n
			inner.t = t
			step.run(t, &inner, dir)
		})
	}
	n.cuppaAt(dir, "down", "-v", "-t", "0")
	if out := n.cuppaAt(dir, "ps", "-a", "-q"); strings.TrimSpace(out) != "" {
		t.Errorf("after down: containers are left:\n%s", out)
	}
}

// interrupted kills `up -d` at five different moments.
func interrupted(n *node, dir string) {
	for _, after := range []time.Duration{50, 150, 300, 500, 800} {
		cmd := n.command(dir, "up", "-d")
		if err := cmd.Start(); err != nil {
			n.t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond) // the moment is the point
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
	}
}

// lightVerbs holds that what people type all day does without the heavy program, which is unpacked by whoever needs it first: in a cache of their own
// they leave nothing of it.
func lightVerbs(t *testing.T, n *node, dir string) {
	cache := t.TempDir()
	unpacked := func() bool {
		_, err := os.Stat(filepath.Join(cache, "programs"))
		return err == nil
	}
	typed := func(args ...string) {
		t.Helper()
		cmd := n.command(dir, args...)
		cmd.Env = append(cmd.Env, "CUPPA_CACHE_DIR="+cache)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cuppa %v: %v\n%s", args, err, out)
		}
	}
	for _, args := range [][]string{
		{"version"}, {"--help"}, {"ps"}, {"ps", "-a", "-q"}, {"logs", "--tail", "10"}, {"ls"}, {"top"}, {"images"}, {"port", "webui", "80"},
		{"exec", "-T", "redis", "redis-server", "--version"}, {"restart", "-t", "0", "worker"}, {"image", "ls"}, {"server", "status"},
	} {
		if typed(args...); unpacked() {
			t.Fatalf("cuppa %v started the heavy program", args)
		}
	}
	if typed("up", "-d"); !unpacked() {
		t.Error("a Compose file that is new to this cache was judged by nobody")
	}
	if err := os.RemoveAll(filepath.Join(cache, "programs")); err != nil {
		t.Fatal(err)
	}
	if typed("up", "-d"); unpacked() {
		t.Error("up -d without a change started the heavy program")
	}
}

func upAgain(t *testing.T, n *node, dir string) {
	before := n.cuppaAt(dir, "ps", "-q")
	_, stderr, code := n.cuppaIn(dir, "up", "-d")
	if code != 0 {
		t.Fatalf("up -d again: exit code %d\n%s", code, stderr)
	}
	if strings.Contains(stderr, "Creat") || strings.Contains(stderr, "Recreat") {
		t.Errorf("up -d again changed something:\n%s", stderr)
	}
	if after := n.cuppaAt(dir, "ps", "-q"); after != before {
		t.Errorf("up -d again: containers were %s, are %s", before, after)
	}
}

func scaleToTwo(t *testing.T, n *node, dir string) {
	logs := start(t, n.command(dir, "logs", "--follow", "--tail", "1", "worker"))
	n.eventually(func() error { return contains(logs.out.String(), "worker-1") })
	n.cuppaAt(dir, "scale", "worker=2")
	n.eventually(func() error { return contains(logs.out.String(), "worker-2") })
	within(t, "two workers", n.speed(10*time.Second), 6.6, 0.9)
}

func contains(s, part string) error {
	if strings.Contains(s, part) {
		return nil
	}
	return fmt.Errorf("no %q in:\n%s", part, lastLines(s, 20))
}

func tenWorkers(t *testing.T, n *node, dir string) {
	n.cuppaAt(dir, "scale", "worker=10")
	within(t, "ten workers", n.speed(10*time.Second), 10, 1.5)
	rng, hasher := n.latency(8001, "/10"), n.latency(8002, "/")
	if rng < 3*hasher {
		t.Errorf("latency under ten workers: rng %s, hasher %s; want rng's far above", rng, hasher)
	}
	n.cuppaAt(dir, "scale", "worker=1")
}

// latency is the median time of five answers.
func (n *node) latency(port int, path string) time.Duration {
	n.t.Helper()
	var all []float64
	for range 5 {
		args := []string{"curl", "-sS", "-o", "/dev/null", "--max-time", "10", "-w", "%{time_total}", fmt.Sprintf("http://localhost:%d%s", port, path)}
		if port == 8002 {
			args = append(args, "-d", "x")
		}
		seconds, err := strconv.ParseFloat(n.inside(args...), 64)
		if err != nil {
			n.t.Fatal(err)
		}
		all = append(all, seconds)
	}
	slices.Sort(all)
	return time.Duration(all[2] * float64(time.Second))
}

// pods returns what identifies each container: its pod and how often it was restarted.
func (n *node) pods() string {
	n.t.Helper()
	return n.kubectl("-n", "dockercoins", "get", "pods", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}`)
}

func (n *node) serverPid() int {
	n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(n.run, "server.lock"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

func serverKilled(t *testing.T, n *node, dir string) {
	n.eventually(func() error {
		if c := strings.Count(n.pods(), "\n"); c != 5 {
			return fmt.Errorf("%d pods, want 5", c)
		}
		return nil
	})
	before := n.pods()
	if err := syscall.Kill(n.serverPid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, "speed while the server is dead", n.speed(10*time.Second), 3.3, 0.6)
	n.cuppa("server", "start")
	if after := n.pods(); after != before {
		t.Errorf("after the server's return: containers were\n%sare\n%s", before, after)
	}
	within(t, "speed after the server's return", n.speed(5*time.Second), 3.3, 0.8)
	logs := n.cuppaAt(dir, "logs", "--tail", "1000", "--timestamps", "--no-log-prefix", "worker")
	gap(t, logs)
}

// gap holds that the worker's log, with a line each second, has no hole.
func gap(t *testing.T, logs string) {
	t.Helper()
	var last time.Time
	for line := range strings.Lines(logs) {
		word, _, _ := strings.Cut(line, " ")
		at, err := time.Parse(time.RFC3339Nano, word)
		if err != nil {
			t.Fatalf("log line without a time: %q", line)
		}
		if !last.IsZero() && at.Sub(last) > 4*time.Second {
			t.Errorf("the log has a hole of %s before %s", at.Sub(last), line)
		}
		last = at
	}
}

func processKilled(t *testing.T, n *node, dir string) {
	pod := strings.Fields(n.kubectl("-n", "dockercoins", "get", "pods", "-l", "compose.cuppa.dev/service=worker", "-o", "name"))[0]
	state := func() string {
		return n.kubectl("-n", "dockercoins", "get", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
	}
	if err := syscall.Kill(n.pidOf("/worker"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	restart := regexp.MustCompile(`^[1-9]\d* true$`)
	n.eventually(func() error {
		if s := state(); !restart.MatchString(s) {
			return fmt.Errorf("restarts and readiness: %s", s)
		}
		return nil
	})
	if out := n.cuppaAt(dir, "ps", "worker"); !strings.Contains(out, "Up") {
		t.Errorf("ps after a restart:\n%s", out)
	}
}

// pidOf finds a container's process of this node by its command line.
func (n *node) pidOf(command string) int {
	n.t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err != nil || strings.TrimRight(string(line), "\x00") != command {
			continue
		}
		cgroup, err := os.ReadFile(filepath.Join(filepath.Dir(p), "cgroup"))
		if err != nil || !strings.Contains(string(cgroup), "cuppa-"+n.hash()) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil {
			n.t.Fatal(err)
		}
		return pid
	}
	n.t.Fatalf("no process %q", command)
	return 0
}

func podDeleted(t *testing.T, n *node, _ string) {
	names := func() string {
		return n.kubectl("-n", "dockercoins", "get", "pods", "-l", "compose.cuppa.dev/service=hasher", "--field-selector", "status.phase=Running", "-o", "name")
	}
	before := strings.TrimSpace(names())
	n.kubectl("-n", "dockercoins", "delete", before, "--wait=true")
	n.eventually(func() error {
		if now := strings.TrimSpace(names()); now == "" || now == before {
			return fmt.Errorf("pods: %q", now)
		}
		return nil
	})
}

// rollingUpdate asks for the page all the time that a rollout takes, a little before and a little after.
func rollingUpdate(t *testing.T, n *node, _ string) {
	n.eventually(func() error { _, err := n.json(); return err })
	enough := filepath.Join(t.TempDir(), "enough")
	load := start(t, exec.Command("nsenter", "--net=/run/netns/"+n.netns, "--", "sh", "-c",
		`i=0; while [ ! -e "$0" ] && [ $i -lt 2000 ]; do curl -sS -o /dev/null --max-time 3 -w '%{http_code}\n' http://localhost:8000/json || echo failed; i=$((i+1)); sleep 0.01; done; echo end`, enough))
	answers := func() int { return strings.Count(load.out.String(), "200\n") }
	some := func(more int) {
		from := answers()
		n.eventually(func() error {
			if got := answers(); got < from+more {
				return fmt.Errorf("%d answers, want %d", got, from+more)
			}
			return nil
		})
	}
	some(10)
	n.kubectl("-n", "dockercoins", "rollout", "restart", "deployment/webui")
	n.kubectl("-n", "dockercoins", "rollout", "status", "deployment/webui", "--timeout=60s")
	some(50)
	if err := os.WriteFile(enough, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.eventually(func() error { return contains(load.out.String(), "end") })
	if rest := strings.ReplaceAll(load.out.String(), "200\n", ""); rest != "end\n" {
		t.Errorf("during a rolling update, besides %d good answers:\n%s", answers(), rest)
	}
}

func editPage(t *testing.T, n *node, dir string) {
	path := filepath.Join(dir, "webui/files/index.html")
	if err := os.WriteFile(path, []byte("<p>edited</p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := n.inside("curl", "-sS", "http://localhost:8000/"); got != "<p>edited</p>" {
		t.Errorf("the page after an edit: %q", got)
	}
}

func stopAndStart(t *testing.T, n *node, dir string) {
	n.cuppaAt(dir, "stop", "-t", "1", "webui")
	if _, err := n.json(); err == nil {
		t.Error("webui answers after stop")
	}
	if out := n.cuppaAt(dir, "ps", "-a"); !regexp.MustCompile(`webui-1.*Exited`).MatchString(out) {
		t.Errorf("ps -a after stop:\n%s", out)
	}
	n.cuppaAt(dir, "start", "webui")
	n.eventually(func() error { _, err := n.json(); return err })
}
