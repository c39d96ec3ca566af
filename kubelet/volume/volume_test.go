package volume_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/objects"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

// source is an API with fixed contents.
type source struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
	tokens     int
	failTokens bool
}

func (s *source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	data, ok := s.configMaps[name]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "configmap %q not found", name)
	}
	return &corev1.ConfigMap{Data: data}, nil
}

func (s *source) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	data, ok := s.secrets[name]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "secret %q not found", name)
	}
	return &corev1.Secret{Data: data}, nil
}

func (s *source) Token(_ context.Context, _ *corev1.Pod, _ string, lifetime time.Duration) (objects.Token, error) {
	if s.failTokens {
		return objects.Token{}, errkind.New(errkind.Unavailable, "no server")
	}
	s.tokens++
	return objects.Token{Value: strings.Repeat("t", s.tokens), Expires: now.Add(lifetime)}, nil
}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type bench struct {
	*volume.Keeper
	source *source
	dir    string
	clock  time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), clock: now, source: &source{
		configMaps: map[string]map[string]string{"conf": {"a": "1", "b": "2"}},
		secrets:    map[string]map[string][]byte{"pass": {"key": []byte("s3cret")}},
	}}
	keeper, err := volume.New(volume.Config{
		DataRoot: filepath.Join(b.dir, "data"), RunRoot: filepath.Join(b.dir, "run"), Source: b.source, Now: func() time.Time { return b.clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Keeper = keeper
	return b
}

func podWith(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "c"}}},
	}
}

// tree lists the files that a volume shows: name, mode and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(at, name string)
	walk = func(at, name string) {
		entries, err := os.ReadDir(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			path := filepath.Join(at, e.Name())
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(path, filepath.Join(name, e.Name()))
				continue
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Join(name, e.Name())] = info.Mode().String() + " " + string(data)
		}
	}
	walk(dir, "")
	return out
}

func configVolume(name string) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
}

// hostPath is where a volume named v is, as the runtime is told.
func (b *bench) hostPath(t *testing.T, pod *corev1.Pod, m corev1.VolumeMount) string {
	t.Helper()
	m.Name, m.MountPath = "v", "/v"
	mounts, _, err := b.Mounts(volume.MountInput{Pod: pod, Container: &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{m}}})
	if err != nil {
		t.Fatal(err)
	}
	return mounts[0].HostPath
}

func TestMirrors(t *testing.T) {
	mode := int32(0o400)
	for _, c := range []struct {
		name   string
		volume corev1.VolumeSource
		want   map[string]string
		fails  string
	}{
		{name: "config map", volume: configVolume("conf").VolumeSource, want: map[string]string{"a": "-rw-r--r-- 1", "b": "-rw-r--r-- 2"}},
		{name: "missing config map", volume: configVolume("none").VolumeSource, fails: `MountVolume.SetUp failed for volume "v": configmap "none" not found`},
		{name: "secret, one key under another name", volume: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "pass", Items: []corev1.KeyToPath{{Key: "key", Path: "deep/er/name"}}, DefaultMode: &mode}},
			want: map[string]string{"deep/er/name": "-r-------- s3cret"}},
		{name: "missing key", volume: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "pass", Items: []corev1.KeyToPath{{Key: "no", Path: "x"}}}},
			fails: `references non-existent key: no`},
		{name: "a way out", volume: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "pass", Items: []corev1.KeyToPath{{Key: "key", Path: "../../x"}}}},
			fails: `no name for a file`},
		{name: "downward API", volume: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			want: map[string]string{"labels": `-rw-r--r-- app="x"`}},
		{name: "projected", volume: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Items: []corev1.KeyToPath{{Key: "a", Path: "ca.crt"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}}}}},
			want: map[string]string{"token": "-rw-r--r-- t", "ca.crt": "-rw-r--r-- 1", "namespace": "-rw-r--r-- ns"}},
		{name: "unknown kind", volume: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}, fails: "not supported on this node"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			pod := podWith(corev1.Volume{Name: "v", VolumeSource: c.volume})
			_, err := b.SetUp(t.Context(), pod, environ.Facts{})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, tree(t, b.hostPath(t, pod, corev1.VolumeMount{}))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokensAreRenewed(t *testing.T) {
	b := newBench(t)
	hour := int64(3600)
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour}}}}}})
	if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	due, err := b.Refresh(t.Context(), pod, environ.Facts{})
	if err != nil || due.Sub(now) != 48*time.Minute || b.source.tokens != 1 {
		t.Errorf("due in %s after %d tokens, %v; want 48m after one", due.Sub(now), b.source.tokens, err)
	}
	b.clock, b.source.failTokens = now.Add(50*time.Minute), true
	if due, err = b.Refresh(t.Context(), pod, environ.Facts{}); err != nil || !due.After(b.clock) {
		t.Errorf("a token that still lives must do while there is no server: due %s, %v", due, err)
	}
	b.source.failTokens = false
	if _, err := b.Refresh(t.Context(), pod, environ.Facts{}); err != nil || b.source.tokens != 2 {
		t.Errorf("%d tokens, %v; want 2", b.source.tokens, err)
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind  corev1.HostPathType
		path  string
		fails string
		mode  fs.FileMode
	}{
		{corev1.HostPathUnset, filepath.Join(dir, "made"), "", fs.ModeDir},
		{corev1.HostPathDirectory, dir, "", fs.ModeDir},
		{corev1.HostPathDirectory, file, "is not a directory", 0},
		{corev1.HostPathDirectory, filepath.Join(dir, "none"), "does not exist", 0},
		{corev1.HostPathDirectoryOrCreate, filepath.Join(dir, "x/y"), "", fs.ModeDir},
		{corev1.HostPathFile, file, "", 0},
		{corev1.HostPathFile, dir, "is not a file", 0},
		{corev1.HostPathFileOrCreate, filepath.Join(dir, "z/new"), "", 0},
		{corev1.HostPathSocket, file, "is not a socket", 0},
		{corev1.HostPathCharDev, "/dev/null", "", fs.ModeDevice | fs.ModeCharDevice},
		{corev1.HostPathBlockDev, "/dev/null", "is not a block device", 0},
	} {
		t.Run(string(c.kind)+" "+filepath.Base(c.path), func(t *testing.T) {
			pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: c.path, Type: &c.kind}}})
			_, err := newBench(t).SetUp(t.Context(), pod, environ.Facts{})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v, want %q", err, c.fails)
				}
				return
			}
			info, statErr := os.Stat(c.path)
			if err != nil || statErr != nil || info.Mode().Type() != c.mode {
				t.Errorf("%v, %v, mode %v want %v", err, statErr, info.Mode().Type(), c.mode)
			}
		})
	}
}

func TestEmptyDirKeepsItsContents(t *testing.T) {
	b := newBench(t)
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	dir := b.hostPath(t, pod, corev1.VolumeMount{})
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o777 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := os.WriteFile(filepath.Join(dir, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Errorf("setting up again lost a file: %v", err)
	}
	if err := b.Remove(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if known := b.Known(); len(known) != 0 {
		t.Errorf("left: %v", known)
	}
}

func asRoot(t *testing.T) {
	t.Helper()
	leak.Root(t, "volumes are mounted")
}

func TestMemoryVolume(t *testing.T) {
	asRoot(t)
	b := newBench(t)
	size := resource.MustParse("1Mi")
	group := int64(4321)
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}})
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	t.Cleanup(func() { _ = b.TearDown(context.Background(), "u") })
	for range 2 {
		if _, err := b.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
			t.Fatal(err)
		}
	}
	dir := b.hostPath(t, pod, corev1.VolumeMount{})
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 2<<20), 0o600); err == nil {
		t.Error("2 MiB fit into 1 MiB")
	}
	if info, _ := os.Stat(dir); info.Mode()&fs.ModeSetgid == 0 {
		t.Errorf("mode %v, want new files to belong to the pod's group", info.Mode())
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), b.dir) {
		t.Error("a mount is left")
	}
}

func TestSubPaths(t *testing.T) {
	asRoot(t)
	b := newBench(t)
	host := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(host, "escape")); err != nil {
		t.Fatal(err)
	}
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}})
	t.Cleanup(func() { _ = b.TearDown(context.Background(), "u") })
	path := b.hostPath(t, pod, corev1.VolumeMount{SubPath: "in/side"})
	if err := os.WriteFile(filepath.Join(path, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(host, "in/side/f")); err != nil {
		t.Errorf("the sub path is not in the volume: %v", err)
	}
	for _, sub := range []string{"escape", "../x", "/etc"} {
		_, _, err := b.Mounts(volume.MountInput{Pod: pod, Container: &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: sub}}}})
		if err == nil {
			t.Errorf("subPath %q leads out of the volume", sub)
		}
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(host, "in/side/f")); err != nil {
		t.Errorf("taking the mount down deleted the volume's contents: %v", err)
	}
}

func TestHostsFile(t *testing.T) {
	pod := podWith()
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"db", "db.local"}}}
	got := volume.Hosts(pod, "", []string{"10.1.0.5"}, "p", "p.sub.ns.svc.cluster.local")
	for _, line := range []string{"# Kubernetes-managed hosts file.\n", "127.0.0.1\tlocalhost\n", "10.1.0.5\tp.sub.ns.svc.cluster.local\tp\n", "192.0.2.7\tdb\tdb.local\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in:\n%s", line, got)
		}
	}
	pod.Spec.HostNetwork = true
	if got := volume.Hosts(pod, "192.0.2.1 host", nil, "p", ""); got != "# Kubernetes-managed hosts file (host network).\n192.0.2.1 host\n192.0.2.7\tdb\tdb.local\n" {
		t.Errorf("on the host's network:\n%s", got)
	}
}
