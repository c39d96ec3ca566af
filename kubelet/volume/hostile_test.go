package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

func emptyDirPod() *corev1.Pod {
	return podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
}

// TestTearDownSparesMounts mounts a folder of the same file system deep inside a volume, as a container with bidirectional propagation
// can: its contents are not the volume's.
func TestTearDownSparesMounts(t *testing.T) {
	asRoot(t)
	b := newBench(t)
	pod := emptyDirPod()
	if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	precious := t.TempDir()
	if err := os.WriteFile(filepath.Join(precious, "treasure"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(b.hostPath(t, pod, corev1.VolumeMount{}), "deep", "er")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, inner, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(inner, unix.MNT_DETACH) })
	if err := b.Remove(t.Context(), "u"); err != nil {
		t.Errorf("take down: %v", err)
	}
	if _, err := os.Stat(filepath.Join(precious, "treasure")); err != nil {
		t.Errorf("what was mounted in the volume has lost its contents: %v", err)
	}
	if left, err := mount.Below(b.dir); err != nil || len(left) > 0 {
		t.Errorf("left mounted: %v, %v", left, err)
	}
	if known := b.Known(); len(known) != 0 {
		t.Errorf("left: %v", known)
	}
}

// TestSubPathsOfOddKinds has a container of the same pod put things in the way that open(2) would wait for, or act upon.
func TestSubPathsOfOddKinds(t *testing.T) {
	asRoot(t)
	b := newBench(t)
	pod := emptyDirPod()
	if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.TearDown(context.Background(), "u") })
	dir := b.hostPath(t, pod, corev1.VolumeMount{})
	for _, err := range []error{
		unix.Mkfifo(dir+"/fifo", 0o666), unix.Mknod(dir+"/dev", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		os.Symlink("/etc", dir+"/out"), os.Symlink("nowhere", dir+"/dangling"), os.Symlink("fifo", dir+"/to-fifo"), os.Mkdir(dir+"/real", 0o755),
		os.Symlink("real", dir+"/inside"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for sub, want := range map[string]string{
		"fifo": "it is a named pipe", "to-fifo": "it is a named pipe", "dev": "it is a character device", "out": "it leads out of there",
		"dangling": "symbolic link there leads to nothing", "fifo/x": "not a directory", "real": "", "inside": "", "new/er": "",
	} {
		_, _, err := b.Mounts(volume.MountInput{Pod: pod, Container: &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{
			{Name: "v", MountPath: "/v", SubPath: sub}}}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("subPath %q: %v, want %q", sub, err, want)
		}
	}
	if info, err := os.Stat(dir + "/new/er"); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v: what is made for a subPath is as open as its volume", info.Mode(), err)
	}
}
