package cri

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
	"github.com/cuppa-project/cuppa/internal/crilog"
)

// loopback is a Network whose pods have nothing but a loopback interface each.
type loopback struct{ dir string }

func (l loopback) Setup(_ context.Context, pod PodNetwork) (PodAddresses, error) {
	if pod.HostNetwork {
		return PodAddresses{}, nil
	}
	path := filepath.Join(l.dir, "net-"+pod.ID)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return PodAddresses{}, err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			err = loopbackUp()
		}
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		// The process's first thread does not end with its goroutine, so it must come back.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return PodAddresses{NetNSPath: path, IPs: []string{"127.0.0.1"}}, <-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func (l loopback) Teardown(_ context.Context, pod PodNetwork) error {
	path := filepath.Join(l.dir, "net-"+pod.ID)
	unix.Unmount(path, unix.MNT_DETACH)
	os.Remove(path)
	return nil
}

func (l loopback) Status(context.Context) error { return nil }

// real is a service on a real supervisor.
type real struct {
	*Service
	node *helpertest.Node
	dir  string
}

func newReal(t testing.TB) *real {
	t.Helper()
	node := helpertest.Start(t)
	r := &real{node: node, dir: t.TempDir()}
	r.reopen(t)
	t.Cleanup(func() {
		list, err := r.ListPodSandbox(context.Background(), nil)
		if err != nil {
			t.Errorf("list pods: %v", err)
		}
		for _, p := range list {
			if err := r.RemovePodSandbox(context.Background(), p.Id); err != nil {
				t.Errorf("remove pod: %v", err)
			}
		}
	})
	return r
}

func (r *real) reopen(t testing.TB) {
	t.Helper()
	images := newFakeImages(busyboxImage())
	image := images.images["sha256:box"]
	image.Config.User = ""
	images.images["sha256:box"] = image
	images.mounts = func(key string) []container.Mount { return r.node.Layer(t, key) }
	s, err := New(Config{Runtime: r.node.Client, Images: images, Network: loopback{r.dir}, StateDir: filepath.Join(r.dir, "cri")})
	if err != nil {
		t.Fatal(err)
	}
	r.Service = s
}

func (r *real) podConfig(name string) *runtimeapi.PodSandboxConfig {
	c := podConfig(r.dir, name)
	c.Linux.CgroupParent = r.node.Cgroup + "/pod-" + name
	return c
}

func (r *real) run(t *testing.T, pod string, config *runtimeapi.ContainerConfig, asked ...extras.Container) string {
	t.Helper()
	id, err := r.MakeContainer(t.Context(), pod, config, append(asked, extras.Container{})[0])
	if err == nil {
		err = r.StartContainer(t.Context(), id)
	}
	if err != nil {
		t.Fatalf("run container %s: %v", config.Metadata.Name, err)
	}
	return id
}

func (r *real) pod(t *testing.T, config *runtimeapi.PodSandboxConfig) string {
	t.Helper()
	id, err := r.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatalf("run pod: %v", err)
	}
	return id
}

// output runs a command to its end in a container of its own and returns what it wrote.
func (r *real) output(t *testing.T, pod string, config *runtimeapi.ContainerConfig, asked ...extras.Container) (string, *runtimeapi.ContainerStatus) {
	t.Helper()
	id := r.run(t, pod, config, asked...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := r.runtime.Wait(ctx, id); err != nil {
		t.Fatalf("wait for container %s: %v", config.Metadata.Name, err)
	}
	st, err := r.ContainerStatus(ctx, id, false)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := crilog.Read(ctx, st.Status.LogPath, crilog.Options{Tail: -1}, &out, &out); err != nil {
		t.Fatal(err)
	}
	return out.String(), st.Status
}

func security(change func(*runtimeapi.LinuxContainerSecurityContext)) *runtimeapi.LinuxContainerConfig {
	sc := &runtimeapi.LinuxContainerSecurityContext{}
	change(sc)
	return &runtimeapi.LinuxContainerConfig{SecurityContext: sc}
}

func TestRealContainers(t *testing.T) {
	r := newReal(t)
	pod := r.pod(t, r.podConfig("web"))
	volume := t.TempDir()
	asked := map[string]extras.Container{
		"volume fill":      {Fill: []string{"/etc"}},
		"init":             {Init: true},
		"ulimits clamped":  {Ulimits: map[string]extras.Ulimit{"nofile": {Soft: 333, Hard: 9999999}}},
		"pids limit":       {PidsLimit: 3},
		"user asked for":   {User: "app"},
		"device asked for": {Devices: []extras.Device{{Host: "/dev/null", Path: "/dev/nothing", Access: "rw"}}},
	}
	for _, tc := range []struct {
		name   string
		script string
		change func(*runtimeapi.ContainerConfig)
		want   string // what the output is
		code   int32
		reason string
	}{
		{"hostname", "hostname; cat /etc/hostname; echo $HOSTNAME", nil, "web\nweb\nweb\n", 0, "Completed"},
		{"dns", "cat /etc/resolv.conf", nil, "nameserver 10.0.0.10\nsearch ns.svc.cluster.local\noptions ndots:5\n", 0, "Completed"},
		{"exit", "exit 9", nil, "", 9, "Error"},
		{"user by name", "id -u; id -g; id -G", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) { sc.RunAsUsername = "app" })
		}, "1000\n1001\n1001 2002\n", 0, "Completed"},
		{"user asked for", "id -u; id -G", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) { sc.RunAsUser = &runtimeapi.Int64Value{Value: 5} })
		}, "1000\n1001 2002\n", 0, "Completed"},
		{"device asked for", "echo x > /dev/nothing && test -c /dev/nothing && echo there", nil, "there\n", 0, "Completed"},
		{"user by number", "id -u; id -g; id -G", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
				sc.RunAsUser, sc.RunAsGroup = &runtimeapi.Int64Value{Value: 1000}, &runtimeapi.Int64Value{Value: 7}
				sc.SupplementalGroups = []int64{42}
			})
		}, "1000\n7\n7 42 2002\n", 0, "Completed"},
		{"strict groups", "id -G", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
				sc.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
				sc.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
			})
		}, "1001\n", 0, "Completed"},
		{"read-only root", "touch /x", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) { sc.ReadonlyRootfs = true })
		}, "touch: /x: Read-only file system\n", 1, "Error"},
		{"no rights", "grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
				sc.Capabilities, sc.NoNewPrivs = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}, true
			})
		}, "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n", 0, "Completed"},
		{"seccomp", "exec 2>&1; grep Seccomp: /proc/self/status; unshare -U true", nil, "Seccomp:\t2\nunshare: unshare(0x10000000): Operation not permitted\n", 1, "Error"},
		{"unconfined", "grep Seccomp: /proc/self/status", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
				sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
			})
		}, "Seccomp:\t0\n", 0, "Completed"},
		{"privileged", "mount -t tmpfs x /tmp && echo mounted; test -c /dev/null && test -w /proc/sys/kernel/hostname && echo open", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) { sc.Privileged = true })
		}, "mounted\nopen\n", 0, "Completed"},
		{"masked", "cat /proc/meminfo; echo 1 > /proc/sys/vm/swappiness", func(c *runtimeapi.ContainerConfig) {
			c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
				sc.MaskedPaths, sc.ReadonlyPaths = []string{"/proc/meminfo"}, []string{"/proc/sys"}
			})
		}, "sh: can't create /proc/sys/vm/swappiness: Read-only file system\n", 1, "Error"},
		{"out of memory", "dd if=/dev/zero of=/dev/null bs=100M count=1", func(c *runtimeapi.ContainerConfig) {
			c.Command = []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"}
			c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}}
		}, "", 137, "OOMKilled"},
		{"limits seen", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max", func(c *runtimeapi.ContainerConfig) {
			c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}}
		}, "16777216\n", 0, "Completed"},
		{"limits that may come seen", "ls -d /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | wc -l", func(c *runtimeapi.ContainerConfig) {
			c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{OomScoreAdj: 999}}
		}, "1\n", 0, "Completed"},
		{"no limits to be seen", "ls -A /sys/fs/cgroup | wc -l", func(c *runtimeapi.ContainerConfig) {
			c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{OomScoreAdj: 1000}}
		}, "0\n", 0, "Completed"},
		{"volume fill", "exec 2>&1; cat /etc/passwd | head -n 1; ls /vol", func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/etc", HostPath: filepath.Join(volume, "etc")}}
		}, "root:x:0:0:root:/root:/bin/sh\nls: /vol: No such file or directory\n", 1, "Error"},
		{"read-only mount", "touch /vol/x", func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/vol", HostPath: volume, Readonly: true}}
		}, "touch: /vol/x: Read-only file system\n", 1, "Error"},
		{"init", "echo $$", func(c *runtimeapi.ContainerConfig) {
			c.Command = []string{"sh", "-c", "test $$ -ne 1 && echo not 1"}
		}, "not 1\n", 0, "Completed"},
		{"ulimits clamped", "ulimit -S -n", nil, "333\n", 0, "Completed"},
		{"pids limit", "sleep 1 & sleep 1 & sleep 1 & wait", nil, "sh: can't fork: Resource temporarily unavailable\n", 2, "Error"},
		{"shared memory", "stat -f -c %b/%s /dev/shm", nil, "16384/4096\n", 0, "Completed"},
		{"env and dir", "pwd; echo $LANG $A", func(c *runtimeapi.ContainerConfig) {
			c.WorkingDir = "/made/here"
			c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b c")}}
		}, "/made/here\nC b c\n", 0, "Completed"},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			config := containerConfig(strings.ReplaceAll(tc.name, " ", "-"), "sh", "-c", tc.script)
			if tc.change != nil {
				tc.change(config)
			}
			out, st := r.output(t, pod, config, asked[tc.name])
			if out != tc.want || st.ExitCode != tc.code || st.Reason != tc.reason {
				t.Errorf("output %q, code %d, reason %s (%s), want %q, %d, %s", out, st.ExitCode, st.Reason, st.Message, tc.want, tc.code, tc.reason)
			}
		})
	}
}

func TestRealStreams(t *testing.T) {
	r := newReal(t)
	pod := r.pod(t, r.podConfig("web"))
	id := r.run(t, pod, containerConfig("server", "nc", "-l", "-p", "8000", "-e", "cat"))
	t.Run("port-forward", func(t *testing.T) {
		mine, theirs := net.Pipe()
		done := make(chan error, 1)
		// The server may not listen yet: nothing tells us but that a connection is refused.
		go func() {
			for range 100 {
				err := r.PortForwardStream(t.Context(), pod, 8000, theirs)
				if err == nil || !strings.Contains(err.Error(), "refused") {
					done <- err
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			done <- context.DeadlineExceeded
		}()
		io.WriteString(mine, "ping")
		buf := make([]byte, 4)
		if _, err := io.ReadFull(mine, buf); err != nil || string(buf) != "ping" {
			t.Errorf("echo through the forwarded port gave %q, %v", buf, err)
		}
		mine.Close()
		if err := <-done; err != nil {
			t.Errorf("port-forward ended with %v", err)
		}
		if err := r.PortForwardStream(t.Context(), pod, 9, theirs); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("forward to a closed port returned %v", err)
		}
	})
	id = r.run(t, pod, containerConfig("main", "sleep", "100"))
	t.Run("terminal", func(t *testing.T) {
		resize := make(chan TerminalSize, 1)
		resize <- TerminalSize{Width: 91, Height: 31}
		var out bytes.Buffer
		code, err := r.ExecStream(t.Context(), id, []string{"sh", "-c", "tty; stty size; read x; echo got $x; exit 5"}, true,
			strings.NewReader("word\n"), &out, nil, resize)
		if code != 5 || err != nil || !strings.Contains(out.String(), "31 91") || !strings.Contains(out.String(), "got word") {
			t.Errorf("exec on a terminal gave %d, %v, %q", code, err, out.String())
		}
	})
	t.Run("much output", func(t *testing.T) {
		out, _, err := r.ExecSync(t.Context(), id, []string{"sh", "-c", "head -c 3000000 /dev/zero"}, 0)
		if err != nil || len(out) != 3000000 {
			t.Errorf("exec gave %d bytes, %v", len(out), err)
		}
	})
	t.Run("left behind", func(t *testing.T) {
		begin := time.Now()
		out, _, err := r.ExecSync(t.Context(), id, []string{"sh", "-c", "echo first; sleep 50 & exit 0"}, 20*time.Second)
		if err != nil || string(out) != "first\n" || time.Since(begin) > 10*time.Second {
			t.Errorf("exec that leaves a process behind gave %q, %v after %v", out, err, time.Since(begin))
		}
	})
	t.Run("new limits", func(t *testing.T) {
		for _, limit := range []int64{32 << 20, 64 << 20, 48 << 20} {
			err := r.UpdateContainerResources(t.Context(), id, &runtimeapi.ContainerResources{
				Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: limit, CpuQuota: 20000, CpuPeriod: 100000}})
			if err != nil {
				t.Fatal(err)
			}
			st, err := r.runtime.Stats(t.Context(), id)
			if err != nil || st.MemoryLimit != uint64(limit) {
				t.Errorf("limit is %d, %v after it was set to %d", st.MemoryLimit, err, limit)
			}
		}
	})
	t.Run("attach", func(t *testing.T) {
		config := containerConfig("shell", "sh")
		config.Stdin, config.StdinOnce, config.Tty = true, true, true
		id := r.run(t, pod, config)
		var out bytes.Buffer
		if err := r.AttachStream(t.Context(), id, true, strings.NewReader("echo a$((1+1))b; exit 3\n"), &out, nil, nil); err != nil {
			t.Fatal(err)
		}
		st, err := r.ContainerStatus(t.Context(), id, false)
		if err != nil || st.Status.ExitCode != 3 || !strings.Contains(out.String(), "a2b") {
			t.Errorf("attached shell gave %q and %v, %v", out.String(), st, err)
		}
	})
}

func TestRealSharedPids(t *testing.T) {
	r := newReal(t)
	config := r.podConfig("shared")
	config.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}}
	pod := r.pod(t, config)
	inPod := func(c *runtimeapi.ContainerConfig) *runtimeapi.ContainerConfig {
		c.Linux = security(func(sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}
		})
		return c
	}
	first := r.run(t, pod, inPod(containerConfig("first", "sleep", "1234")))
	out, _ := r.output(t, pod, inPod(containerConfig("second", "sh", "-c", "ps; ls /proc/1/root")))
	if !strings.Contains(out, "sleep 1234") || !strings.Contains(out, "cuppa-init") || !strings.Contains(out, "Permission denied") {
		t.Errorf("the second container sees %q", out)
	}
	if list, err := r.ListContainers(t.Context(), nil); err != nil || len(list) != 2 {
		t.Errorf("containers are %v, %v, want the pod's two", list, err)
	}
	if err := r.StopContainer(t.Context(), first, 1); err != nil {
		t.Fatal(err)
	}
}

func TestRealRestart(t *testing.T) {
	r := newReal(t)
	pod := r.pod(t, r.podConfig("web"))
	id := r.run(t, pod, containerConfig("main", "sh", "-c", "sleep 0.2; echo meanwhile; exit 6"))
	r.node.Connect(t) // as a new process would
	r.reopen(t)
	if _, err := r.runtime.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	st, err := r.ContainerStatus(t.Context(), id, false)
	if err != nil || st.Status.ExitCode != 6 {
		t.Errorf("after the restart the container is %v, %v", st, err)
	}
	stats, err := r.PodSandboxStats(t.Context(), pod)
	if err != nil || stats.Linux == nil {
		t.Errorf("statistics are %v, %v", stats, err)
	}
}
