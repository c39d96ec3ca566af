package supervisor_test

import (
	"fmt"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
)

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
	for b.Loop() {
		code, err := n.Exec(b.Context(), "c", container.Process{Args: []string{"true"}}, container.Streams{})
		if code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
}
