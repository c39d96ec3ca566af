package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/objects"
)

// anything answers every question with something.
type anything struct {
	mu   sync.Mutex
	data map[string]string
}

func (a *anything) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &corev1.ConfigMap{Data: a.data}, nil
}

func (a *anything) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return &corev1.Secret{Data: map[string][]byte{"k": []byte("v")}}, nil
}

func (a *anything) Token(_ context.Context, _ *corev1.Pod, _ string, lifetime time.Duration) (objects.Token, error) {
	return objects.Token{Value: "t", Expires: time.Now().Add(lifetime)}, nil
}

func newKeeper(t *testing.T, dir string, source Source) *Keeper {
	t.Helper()
	k, err := New(Config{DataRoot: filepath.Join(dir, "data"), RunRoot: filepath.Join(dir, "run"), Source: source})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func onePod(source corev1.VolumeSource) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: source}}}}
	pod.Name, pod.UID = "p", "u"
	return pod
}

// samples is one volume of every kind in the table.
func samples(host string) map[string]corev1.VolumeSource {
	return map[string]corev1.VolumeSource{
		"emptyDir":    {EmptyDir: &corev1.EmptyDirVolumeSource{}},
		"hostPath":    {HostPath: &corev1.HostPathVolumeSource{Path: host}},
		"configMap":   {ConfigMap: &corev1.ConfigMapVolumeSource{}},
		"secret":      {Secret: &corev1.SecretVolumeSource{SecretName: "s"}},
		"downwardAPI": {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
		"projected":   {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}},
		"image":       {Image: &corev1.ImageVolumeSource{Reference: "busybox"}},
	}
}

// TestEveryKind takes each row of the table through its life, every step twice and the program restarted between them.
func TestEveryKind(t *testing.T) {
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "hosts-own"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sources := samples(host)
	for _, r := range table() {
		t.Run(r.kind, func(t *testing.T) {
			source, ok := sources[r.kind]
			if !ok {
				t.Fatal("the test has no sample of this kind")
			}
			dir, pod := t.TempDir(), onePod(source)
			keeper := func() *Keeper { return newKeeper(t, dir, &anything{data: map[string]string{"a": "1"}}) }
			for range 2 {
				if _, err := keeper().SetUp(t.Context(), pod, environ.Facts{}); err != nil {
					t.Fatal(err)
				}
			}
			records := keeper().kept("u")
			if len(records) != 1 || records[0].Driver != r.kind || records[0].Volume != "v" {
				t.Fatalf("the records are %+v", records)
			}
			used, err := keeper().Usage(t.Context(), "u", "v")
			if r.kind == "hostPath" || r.kind == "image" {
				if !errors.Is(err, errkind.Precondition) {
					t.Errorf("measured %+v, %v", used, err)
				}
			} else if err != nil || used.Inodes == 0 {
				t.Errorf("measured %+v, %v", used, err)
			}
			for range 2 {
				if err := keeper().TearDown(t.Context(), "u"); err != nil {
					t.Fatal(err)
				}
			}
			if path := records[0].Path; r.kind != "hostPath" && path != "" {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
			if _, err := keeper().Usage(t.Context(), "u", "v"); !errors.Is(err, errkind.NotFound) {
				t.Errorf("after the end it is still measured: %v", err)
			}
			if err := keeper().Remove(t.Context(), "u"); err != nil || len(keeper().Known()) > 0 {
				t.Errorf("%v, left %v", err, keeper().Known())
			}
			if _, err := os.Stat(filepath.Join(host, "hosts-own")); err != nil {
				t.Fatalf("the host's own file: %v", err)
			}
		})
	}
}

// plugged is a driver like one that speaks to a storage system: what it stages is outside the pod's folder.
type plugged struct {
	store string
	calls *[]string
	fail  map[string]error
}

func (p plugged) say(step, volume string) error {
	*p.calls = append(*p.calls, step+" "+volume)
	return p.fail[step]
}

func (p plugged) Stage(_ context.Context, v Request) error {
	return errors.Join(p.say("stage", v.Volume), os.MkdirAll(filepath.Join(p.store, v.Volume), 0o755))
}

func (p plugged) Publish(_ context.Context, v Request) (time.Time, error) {
	return time.Time{}, errors.Join(p.say("publish", v.Volume), os.MkdirAll(v.Path, 0o755))
}

func (p plugged) Unpublish(_ context.Context, r Record) error {
	return errors.Join(p.say("unpublish", r.Volume), os.RemoveAll(r.Path))
}

func (p plugged) Unstage(_ context.Context, r Record) error {
	return errors.Join(p.say("unstage", r.Volume), os.RemoveAll(filepath.Join(p.store, r.Volume)))
}

func (p plugged) Usage(context.Context, Record) (mount.Used, error) { return mount.Used{Bytes: 7}, nil }

// TestAnotherRow holds that a driver with work in all four steps needs nothing but a row, and is asked for the right steps after a
// restart, when only the record is left.
func TestAnotherRow(t *testing.T) {
	dir, store := t.TempDir(), t.TempDir()
	var calls []string
	fail := map[string]error{}
	keeper := func() *Keeper {
		k := newKeeper(t, dir, &anything{})
		k.rows = append(k.rows, row{"nfs", func(s *corev1.VolumeSource) bool { return s.NFS != nil }, inMemory,
			func(*Keeper) Driver { return plugged{store, &calls, fail} }, false})
		return k
	}
	pod := onePod(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}})
	fail["publish"] = errors.New("no server")
	if _, err := keeper().SetUp(t.Context(), pod, environ.Facts{}); err == nil || err.Error() != `MountVolume.SetUp failed for volume "v": no server` {
		t.Errorf("got %v", err)
	}
	delete(fail, "publish")
	if _, err := keeper().SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	if used, err := keeper().Usage(t.Context(), "u", "v"); err != nil || used.Bytes != 7 {
		t.Errorf("measured %+v, %v", used, err)
	}
	fail["unpublish"] = errors.New("busy")
	if err := keeper().TearDown(t.Context(), "u"); err == nil || len(keeper().kept("u")) != 1 {
		t.Errorf("%v, and the record is %v: what could not be taken down must be tried again", err, keeper().kept("u"))
	}
	delete(fail, "unpublish")
	if err := keeper().TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	want := []string{"stage v", "publish v", "stage v", "publish v", "unpublish v", "unpublish v", "unstage v"}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left, _ := os.ReadDir(store); len(left) > 0 {
		t.Errorf("left staged: %v", left)
	}
}

// TestDamagedRecord: volumes are taken down all the same, and a kind that is not known holds nothing up.
func TestDamagedRecord(t *testing.T) {
	for name, text := range map[string]string{"torn": `[{"pod":"u","vol`, "empty": "", "unknown kind": `[{"pod":"u","volume":"v","driver":"floppy","path":"/"}]`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := newKeeper(t, dir, &anything{})
			if _, err := k.SetUp(t.Context(), onePod(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), environ.Facts{}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(k.PodDir("u"), recordsFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := k.Remove(t.Context(), "u"); err != nil || len(k.Known()) > 0 {
				t.Errorf("%v, left %v", err, k.Known())
			}
		})
	}
}

// TestUpdatesAreAtomic looks at the volume before each step of an update, as a reader does that opens the folder once and reads from there,
// and holds that it sees all old files or all new ones.
func TestUpdatesAreAtomic(t *testing.T) {
	source := &anything{data: map[string]string{"a": "old", "b": "old", "gone": "old"}}
	k := newKeeper(t, t.TempDir(), source)
	pod := onePod(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}})
	if _, err := k.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	dir := inMemory(k, types.UID("u"), &pod.Spec.Volumes[0])
	before, _ := os.Readlink(filepath.Join(dir, dataLink))
	var steps []string
	k.step = func(step string) { steps = append(steps, step+": "+seen(t, dir)) }
	if _, err := k.Refresh(t.Context(), pod, environ.Facts{}); err != nil || len(steps) > 0 {
		t.Errorf("%v; files were written although nothing had changed: %v", err, steps)
	}
	source.data = map[string]string{"a": "new", "b": "new", "fresh": "new"}
	if _, err := k.Refresh(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"link: a=old b=old gone=old", "switch: a=old b=old gone=old", "names: a=new b=new fresh=new", "old files: a=new b=new fresh=new"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, before)); before == "" || !os.IsNotExist(err) {
		t.Errorf("the old files are still there: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") {
			names = append(names, e.Name())
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "fresh"}, names); diff != "" {
		t.Errorf("visible names (-want +got):\n%s", diff)
	}
}

// seen is what a reader that opens the data folder once finds in it.
func seen(t *testing.T, dir string) string {
	t.Helper()
	root, err := os.OpenRoot(filepath.Join(dir, dataLink))
	if err != nil {
		return err.Error()
	}
	defer root.Close()
	entries, err := os.ReadDir(filepath.Join(dir, dataLink))
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range entries {
		data, err := root.ReadFile(e.Name())
		out = append(out, fmt.Sprintf("%s=%s", e.Name(), data))
		if err != nil {
			out = append(out, err.Error())
		}
	}
	return strings.Join(out, " ")
}

// TestReadersDuringUpdates has a reader follow the link and read both files, again and again, while they are updated.
func TestReadersDuringUpdates(t *testing.T) {
	source := &anything{data: map[string]string{"a": "0", "b": "0"}}
	k := newKeeper(t, t.TempDir(), source)
	pod := onePod(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}})
	if _, err := k.SetUp(t.Context(), pod, environ.Facts{}); err != nil {
		t.Fatal(err)
	}
	dir := inMemory(k, types.UID("u"), &pod.Spec.Volumes[0])
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	reads, pairs := 0, 0
	readers.Go(func() {
		for ctx.Err() == nil {
			if _, err := os.Readlink(filepath.Join(dir, dataLink)); err != nil {
				t.Errorf("there is a moment without files: %v", err)
				return
			}
			root, err := os.OpenRoot(filepath.Join(dir, dataLink))
			if err != nil {
				continue // an update went by between reading the link and following it
			}
			a, errA := root.ReadFile("a")
			b, errB := root.ReadFile("b")
			_ = root.Close()
			reads++
			if errA != nil || errB != nil {
				continue // an update went by, and took the folder that was open
			}
			pairs++
			if string(a) != string(b) {
				t.Errorf("read %s and %s together", a, b)
				return
			}
			if _, err := os.Lstat(filepath.Join(dir, "a")); err != nil {
				t.Errorf("there is a moment without the file: %v", err)
				return
			}
		}
	})
	for i := range 300 {
		source.mu.Lock()
		source.data = map[string]string{"a": fmt.Sprint(i), "b": fmt.Sprint(i)}
		source.mu.Unlock()
		if _, err := k.Refresh(t.Context(), pod, environ.Facts{}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	readers.Wait()
	if pairs == 0 {
		t.Errorf("none of %d reads met both files", reads)
	}
}
