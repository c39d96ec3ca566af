package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
)

// cpu reports the processor time that the supervisor and what it has run take for each operation. Unlike the time on the clock it
// says the same on a busy machine.
func cpu(b *testing.B, n *helpertest.Node) {
	hello, err := n.Hello(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ticks := func() (sum int) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", hello.Pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		for _, field := range strings.Fields(rest)[11:15] {
			t, _ := strconv.Atoi(field)
			sum += t
		}
		return sum
	}
	before := ticks()
	b.Cleanup(func() { b.ReportMetric(float64(ticks()-before)*10/float64(b.N), "cpu-ms/op") })
}

// pod makes the shared namespaces of a pod and returns how to describe its containers.
func pod(b *testing.B, n *helpertest.Node, filter bool) func(id string, args ...string) container.Spec {
	ns, err := n.MakeNamespaces(b.Context(), container.NamespaceSpec{ID: "pod", Hostname: "pod", IPC: true, UTS: true})
	if err != nil {
		b.Fatal(err)
	}
	return func(id string, args ...string) container.Spec {
		spec := n.Spec(b, id, args...)
		for i := range spec.OCI.Linux.Namespaces {
			switch s := &spec.OCI.Linux.Namespaces[i]; s.Type {
			case specs.IPCNamespace:
				s.Path = ns.IPC
			case specs.UTSNamespace:
				s.Path = ns.UTS
			}
		}
		if filter {
			profile, err := seccomp.GetDefaultProfile(spec.OCI)
			if err != nil {
				b.Fatal(err)
			}
			spec.OCI.Linux.Seccomp = profile
		}
		return spec
	}
}

// BenchmarkContainer runs `true` in a pod that is ready: create, start, wait, delete.
func BenchmarkContainer(b *testing.B) {
	for _, bc := range []struct {
		name   string
		filter bool
	}{{"plain", false}, {"seccomp", true}} {
		b.Run(bc.name, func(b *testing.B) {
			n := helpertest.Start(b)
			spec := pod(b, n, bc.filter)
			cpu(b, n)
			i := 0
			for b.Loop() {
				id := fmt.Sprintf("c%d", i)
				i++
				err := n.Create(b.Context(), spec(id, "true"))
				if err == nil {
					err = n.Client.Start(b.Context(), id)
				}
				if err == nil {
					_, err = n.Wait(b.Context(), id)
				}
				if err == nil {
					err = n.Delete(b.Context(), id, false)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart is the start alone, until the program runs.
func BenchmarkStart(b *testing.B) {
	n := helpertest.Start(b)
	spec := pod(b, n, true)
	i := 0
	for b.Loop() {
		b.StopTimer()
		id := fmt.Sprintf("c%d", i)
		i++
		if err := n.Create(b.Context(), spec(id, "true")); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := n.Client.Start(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Delete(b.Context(), id, true); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkExec runs `true` in a running container.
func BenchmarkExec(b *testing.B) {
	n := helpertest.Start(b)
	spec := pod(b, n, true)
	if err := n.Create(b.Context(), spec("c", "sleep", "1000")); err != nil {
		b.Fatal(err)
	}
	if err := n.Client.Start(b.Context(), "c"); err != nil {
		b.Fatal(err)
	}
	cpu(b, n)
	for b.Loop() {
		code, err := n.Exec(b.Context(), "c", container.Process{Args: []string{"true"}}, container.Streams{})
		if code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
}

// BenchmarkStatus is the smallest call there is.
func BenchmarkStatus(b *testing.B) {
	n := helpertest.Start(b)
	if err := n.Create(b.Context(), n.Spec(b, "c", "true")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := n.Status(b.Context(), "c"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNamespaces makes and removes what a pod shares.
func BenchmarkNamespaces(b *testing.B) {
	n := helpertest.Start(b)
	for b.Loop() {
		spec := container.NamespaceSpec{ID: "pod", Hostname: "pod", IPC: true, UTS: true, ShmSize: 1 << 20, Cgroup: n.Cgroup + "/pod"}
		if _, err := n.MakeNamespaces(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if err := n.RemoveNamespaces(b.Context(), "pod"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExitEvent is the time from a process's exit to the event at the client, with the little that the process does before.
func BenchmarkExitEvent(b *testing.B) {
	n := helpertest.Start(b)
	events, err := n.Events(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	spec := n.Spec(b, "c", "cat")
	spec.OpenStdin, spec.StdinOnce = true, true
	i := 0
	for b.Loop() {
		b.StopTimer()
		spec.ID = fmt.Sprintf("c%d", i)
		i++
		spec.RootFS = n.Layer(b, spec.ID)
		spec.OCI.Linux.CgroupsPath = n.Cgroup + "/" + spec.ID
		if err := n.Create(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if err := n.Client.Start(b.Context(), spec.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := n.Signal(b.Context(), spec.ID, 9, false); err != nil {
			b.Fatal(err)
		}
		for e := range events {
			if e.Type == container.EventExited {
				break
			}
		}
	}
}

// BenchmarkMemory reports what the supervisor takes for each of fifty containers that it holds, and how many threads it has then.
func BenchmarkMemory(b *testing.B) {
	const count = 50
	n := helpertest.Start(b)
	hello, err := n.Hello(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	number := func(file, key string) (value float64) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", hello.Pid, file))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, key); ok {
				value, _ = strconv.ParseFloat(strings.Fields(rest)[0], 64)
			}
		}
		return value
	}
	spec := pod(b, n, true)
	for b.Loop() {
		before := number("smaps_rollup", "Anonymous:")
		for i := range count {
			s := spec(fmt.Sprintf("c%d", i), "sleep", "1000")
			s.LogPath = filepath.Join(n.Dir, s.ID+".log")
			if err := n.Create(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			if err := n.Client.Start(b.Context(), s.ID); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((number("smaps_rollup", "Anonymous:")-before)/count, "anon-kB/container")
		b.ReportMetric(before, "anon-kB-empty")
		b.ReportMetric(number("status", "Threads:"), "threads")
		for i := range count {
			if err := n.Delete(b.Context(), fmt.Sprintf("c%d", i), true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkFirstStart is a pod's way to its first process on a machine that has been idle: namespaces, then create and start.
func BenchmarkFirstStart(b *testing.B) {
	n := helpertest.Start(b)
	i := 0
	for b.Loop() {
		b.StopTimer()
		time.Sleep(150 * time.Millisecond)
		id := fmt.Sprintf("c%d", i)
		i++
		b.StartTimer()
		_, err := n.MakeNamespaces(b.Context(), container.NamespaceSpec{ID: id, IPC: true, UTS: true, Cgroup: n.Cgroup + "/pod" + id})
		if err == nil {
			err = n.Create(b.Context(), n.Spec(b, id, "true"))
		}
		if err == nil {
			err = n.Client.Start(b.Context(), id)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Delete(b.Context(), id, true); err != nil {
			b.Fatal(err)
		}
		if err := n.RemoveNamespaces(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkTogether starts forty containers at once.
func BenchmarkTogether(b *testing.B) {
	n := helpertest.Start(b)
	cpu(b, n)
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				spec := n.Spec(b, fmt.Sprintf("c%d", i), "sleep", "1000")
				err := n.Create(b.Context(), spec)
				if err == nil {
					err = n.Client.Start(b.Context(), spec.ID)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		for i := range 40 {
			wg.Go(func() {
				if err := n.Delete(b.Context(), fmt.Sprintf("c%d", i), true); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StartTimer()
	}
}
