package observe_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// TestLastWords: a container that failed tells why, from its message file or, if it asked for that, from the end of its log.
func TestLastWords(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  corev1.TerminationMessagePolicy
		code    int32
		written string
		want    string
	}{
		{"from the file", corev1.TerminationMessageReadFile, 1, "it broke", "it broke"},
		{"nothing written", corev1.TerminationMessageReadFile, 1, "", ""},
		{"from the log", corev1.TerminationMessageFallbackToLogsOnError, 1, "", "line 1\nline 2\n"},
		{"not from the log of a success", corev1.TerminationMessageFallbackToLogsOnError, 0, "", ""},
		{"the file goes first", corev1.TerminationMessageFallbackToLogsOnError, 1, "it broke", "it broke"},
		{"cut to the end", corev1.TerminationMessageReadFile, 1, strings.Repeat("x", 5000), strings.Repeat("x", 4096)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			message := filepath.Join(dir, "message")
			if err := os.WriteFile(message, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			runtime := kubelettest.NewRuntime("i")
			runtime.Program("app", func(uint32) kubelettest.Program {
				return kubelettest.Program{LastWords: c.written, Output: []string{"line 1", "line 2"}}
			})
			key := observe.Key{UID: "u", Namespace: "ns", Name: "p"}
			labels := map[string]string{observe.LabelPodUID: "u", observe.LabelContainerName: "app"}
			config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Uid: "u"}, LogDirectory: dir, Labels: labels}
			sandbox, err := runtime.RunPodSandbox(t.Context(), config, "")
			if err != nil {
				t.Fatal(err)
			}
			id, err := runtime.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
				Metadata: &runtimeapi.ContainerMetadata{Name: "app"}, Image: &runtimeapi.ImageSpec{Image: "i"}, Labels: labels, LogPath: "app.log",
				Annotations: map[string]string{observe.AnnotationTerminationHostPath: message, observe.AnnotationMessagePolicy: string(c.policy)},
			}, config)
			if err != nil {
				t.Fatal(err)
			}
			if err := runtime.StartContainer(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			runtime.Kill("app", c.code)
			pod, err := observe.Read(t.Context(), runtime, key)
			if err != nil {
				t.Fatal(err)
			}
			if got := pod.Containers[0].Message; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	runtime := kubelettest.NewRuntime("i")
	labels := func(name string) map[string]string {
		return map[string]string{observe.LabelPodUID: "u", observe.LabelContainerName: name}
	}
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Uid: "u"}, LogDirectory: t.TempDir(), Labels: labels("")}
	sandbox, err := runtime.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		attempt uint32
	}{{"b", 0}, {"a", 9}, {"a", 11}, {"a", 10}} {
		if _, err := runtime.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: c.name, Attempt: c.attempt}, Image: &runtimeapi.ImageSpec{Image: "i"}, Labels: labels(c.name),
		}, config); err != nil {
			t.Fatal(err)
		}
	}
	pod, err := observe.Read(t.Context(), runtime, observe.Key{UID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range pod.Containers {
		got = append(got, fmt.Sprint(c.Name, c.Attempt))
	}
	if want := "a11 a10 a9 b0"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
	if newest := pod.Newest("a"); newest == nil || newest.Attempt != 11 {
		t.Errorf("newest %+v", newest)
	}
}

// TestUnendedLine: what a program writes without ending the line is told without one.
func TestUnendedLine(t *testing.T) {
	const log = "2026-01-01T00:00:00Z stdout F line 1\n2026-01-01T00:00:01Z stdout P DONE\n"
	if got, want := observe.LogTail(log), "line 1\nDONE"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
