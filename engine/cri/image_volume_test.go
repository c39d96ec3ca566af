package cri

import (
	"errors"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func imageAt(path, sub string) *runtimeapi.Mount {
	return &runtimeapi.Mount{ContainerPath: path, Image: &runtimeapi.ImageSpec{Image: "sha256:box"}, ImageSubPath: sub, Readonly: true}
}

func TestImageMountsRefused(t *testing.T) {
	both := imageAt("/v", "")
	both.HostPath = "/tmp"
	for want, m := range map[string]*runtimeapi.Mount{
		"needs a container path": imageAt("", ""), "cannot show both": both, "leaves the image": imageAt("/v", "../x"),
	} {
		if _, err := podMounts([]*runtimeapi.Mount{m}); !errors.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestRealImageVolumes shows a whole image, a part of one and a file of one to a container, and looks for what is left afterwards: the
// node's own check finds mounts.
func TestRealImageVolumes(t *testing.T) {
	r := newReal(t)
	pod := r.pod(t, r.podConfig("p"))
	config := containerConfig("c", "sh", "-c", `cat /whole/etc/group | head -n1; ls /part; cat /file | head -n1; touch /whole/x /part/x 2>/dev/null || echo read-only`)
	config.Mounts = []*runtimeapi.Mount{imageAt("/whole", ""), imageAt("/part", "etc"), imageAt("/file", "etc/passwd")}
	out, st := r.output(t, pod, config)
	if want := "root:x:0:\ngroup\npasswd\nroot:x:0:0:root:/root:/bin/sh\nread-only\n"; out != want || st.ExitCode != 0 {
		t.Errorf("exit %d, output:\n%s\nwant:\n%s", st.ExitCode, out, want)
	}
	if err := r.RemoveContainer(t.Context(), st.Id); err != nil {
		t.Fatal(err)
	}
	config.Metadata.Name, config.Mounts = "none", []*runtimeapi.Mount{imageAt("/none", "no/such")}
	id, err := r.CreateContainer(t.Context(), pod, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), id); err == nil || !strings.Contains(err.Error(), "mount image at /none: subPath") {
		t.Errorf("got %v", err)
	}
}
