package cri

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/container/containertest"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// fakeImages is an image store in memory.
type fakeImages struct {
	mu     sync.Mutex
	images map[string]Image
	layers map[string]string // key -> image ID
	mounts func(key string) []container.Mount
}

func newFakeImages(images ...Image) *fakeImages {
	f := &fakeImages{images: map[string]Image{}, layers: map[string]string{}}
	for _, i := range images {
		f.images[i.ID] = i
	}
	return f
}

func (f *fakeImages) Image(_ context.Context, ref string) (Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.images {
		if i.ID == ref || slices.Contains(i.Tags, ref) {
			return i, nil
		}
	}
	return Image{}, errkind.New(errkind.NotFound, "image %q is not present", ref)
}

func (f *fakeImages) ListImages(context.Context) ([]Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Image
	for _, i := range f.images {
		all = append(all, i)
	}
	return all, nil
}

func (f *fakeImages) PullImage(_ context.Context, ref string, auth Auth) (string, error) {
	if auth.Password == "wrong" {
		return "", errkind.New(errkind.Denied, "pull %s: denied", ref)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images["sha256:pulled"] = Image{ID: "sha256:pulled", Tags: []string{ref}, Config: imagespec.ImageConfig{Cmd: []string{"true"}}}
	return "sha256:pulled", nil
}

func (f *fakeImages) RemoveImage(_ context.Context, ref string) error {
	i, err := f.Image(context.Background(), ref)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.images, i.ID)
	return nil
}

func (f *fakeImages) Usage(context.Context) (Disk, error) {
	return Disk{Path: "/images", Bytes: 100, Inodes: 7}, nil
}

func (f *fakeImages) PrepareRootFS(_ context.Context, key, imageID string) ([]container.Mount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers[key] = imageID
	if f.mounts != nil {
		return f.mounts(key), nil
	}
	return []container.Mount{{Type: "bind", Source: "/layer/" + key}}, nil
}

func (f *fakeImages) RemoveRootFS(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.layers, key)
	return nil
}

func (f *fakeImages) RootFSUsage(context.Context, string) (Disk, error) {
	return Disk{Path: "/images", Bytes: 5, Inodes: 1}, nil
}

// fakeNetwork gives out addresses.
type fakeNetwork struct {
	mu     sync.Mutex
	pods   map[string]PodNetwork
	fail   error
	during func() // called while a pod is being set up
}

func (f *fakeNetwork) Setup(_ context.Context, pod PodNetwork) (PodAddresses, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return PodAddresses{}, f.fail
	}
	if f.during != nil {
		f.during()
	}
	f.pods[pod.ID] = pod
	if pod.HostNetwork {
		return PodAddresses{}, nil
	}
	return PodAddresses{NetNSPath: "/netns/" + pod.Name, IPs: []string{"10.1.2.3", "fd00::3"}}, nil
}

func (f *fakeNetwork) Teardown(_ context.Context, pod PodNetwork) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, pod.ID)
	return nil
}

func (f *fakeNetwork) Status(context.Context) error { return f.fail }

// bench is a service on fakes.
type bench struct {
	*Service
	runtime *containertest.Fake
	images  *fakeImages
	network *fakeNetwork
	dir     string
}

func busyboxImage() Image {
	return Image{ID: "sha256:box", Tags: []string{"docker.io/library/busybox:latest"}, Digests: []string{"busybox@sha256:1"}, Size: 42,
		Config: imagespec.ImageConfig{Env: []string{"PATH=/bin", "LANG=C"}, Cmd: []string{"sleep", "100"}, User: "1000", StopSignal: "SIGINT"}}
}

func newBench(t *testing.T, programs map[string]containertest.Program) *bench {
	t.Helper()
	b := &bench{runtime: containertest.NewFake(programs), images: newFakeImages(busyboxImage()),
		network: &fakeNetwork{pods: map[string]PodNetwork{}}, dir: t.TempDir()}
	t.Cleanup(b.runtime.Close)
	b.reopen(t)
	return b
}

// reopen acts as a restart of the program: all that is kept in memory is gone.
func (b *bench) reopen(t *testing.T) {
	t.Helper()
	s, err := New(Config{Runtime: b.runtime, Images: b.images, Network: b.network, StateDir: filepath.Join(b.dir, "cri"), Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	b.Service = s
}

func podConfig(dir, name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: "uid-" + name},
		Hostname: name, LogDirectory: filepath.Join(dir, "logs", name), Labels: map[string]string{"app": name},
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.0.0.10"}, Searches: []string{"ns.svc.cluster.local"}, Options: []string{"ndots:5"}},
		Linux:     &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/test/pod-" + name},
	}
}

func containerConfig(name string, args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}, Command: args, LogPath: name + "/0.log",
		Image: &runtimeapi.ImageSpec{Image: "sha256:box"}, Labels: map[string]string{"name": name}}
}

func (b *bench) pod(t *testing.T, config *runtimeapi.PodSandboxConfig) string {
	t.Helper()
	id, err := b.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatalf("run pod: %v", err)
	}
	return id
}

func (b *bench) create(t *testing.T, pod string, config *runtimeapi.ContainerConfig) string {
	t.Helper()
	id, err := b.CreateContainer(t.Context(), pod, config, nil)
	if err != nil {
		t.Fatalf("create container: %v", err)
	}
	return id
}

func (b *bench) start(t *testing.T, pod string, config *runtimeapi.ContainerConfig) string {
	t.Helper()
	id := b.create(t, pod, config)
	if err := b.StartContainer(t.Context(), id); err != nil {
		t.Fatalf("start container: %v", err)
	}
	return id
}

func (b *bench) status(t *testing.T, id string) *runtimeapi.ContainerStatus {
	t.Helper()
	r, err := b.ContainerStatus(t.Context(), id, false)
	if err != nil {
		t.Fatalf("container status: %v", err)
	}
	return r.Status
}

func TestPodLife(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan *runtimeapi.ContainerEventResponse, 100)
	connected := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { close(connected) })
	}()
	<-connected
	pod := b.pod(t, podConfig(b.dir, "web"))
	if again := b.pod(t, podConfig(b.dir, "web")); again != pod {
		t.Errorf("running the same pod again made another sandbox")
	}
	st, err := b.PodSandboxStatus(ctx, pod, false)
	if err != nil || st.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY || st.Status.Network.Ip != "10.1.2.3" ||
		len(st.Status.Network.AdditionalIps) != 1 {
		t.Errorf("pod status is %v, %v", st, err)
	}
	config := containerConfig("main", "sh", "-c", "echo hi; trap 'exit 4' TERM; sleep 100")
	config.StopSignal = runtimeapi.Signal_SIGNAL_SIGTERM
	id := b.start(t, pod, config)
	if again := b.create(t, pod, config); again != id {
		t.Errorf("creating the same container again made another")
	}
	var got []string
	next := func(got *[]string) *runtimeapi.ContainerEventResponse {
		e := <-events
		who := "pod"
		if e.ContainerId == id {
			who = "container"
		}
		*got = append(*got, who+" "+strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT"))
		return e
	}
	for !slices.Contains(got, "container STARTED") {
		if e := next(&got); e.PodSandboxStatus.GetId() != pod || len(e.ContainersStatuses) > 1 {
			t.Errorf("event %v does not tell how the pod stands", e)
		}
	}
	if c := b.status(t, id); c.State != runtimeapi.ContainerState_CONTAINER_RUNNING || c.StartedAt == 0 ||
		c.LogPath != filepath.Join(b.dir, "logs/web/main/0.log") {
		t.Errorf("container status is %v", c)
	}
	if err := b.StopContainer(ctx, id, 10); err != nil {
		t.Fatal(err)
	}
	if c := b.status(t, id); c.State != runtimeapi.ContainerState_CONTAINER_EXITED || c.ExitCode != 4 || c.Reason != "Error" {
		t.Errorf("container status after stop is %v", c)
	}
	for range 2 {
		if err := b.StopPodSandbox(ctx, pod); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.network.pods) != 0 || len(b.runtime.Namespaces()) != 0 {
		t.Errorf("stopped pod still has network %v and namespaces %v", b.network.pods, b.runtime.Namespaces())
	}
	for range 2 {
		if err := b.RemovePodSandbox(ctx, pod); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.images.layers) != 0 || b.runtime.String() != "" {
		t.Errorf("removed pod left layers %v and containers %q", b.images.layers, b.runtime)
	}
	for len(got) < 7 {
		next(&got)
	}
	want := []string{"pod STARTED", "container CREATED", "container STARTED", "container STOPPED", "pod STOPPED", "container DELETED", "pod DELETED"}
	slices.Sort(got) // pods' and containers' events come from two sources
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("GetContainerEvents returned %v", err)
	}
}

func TestStopPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		pod := b.pod(t, podConfig(b.dir, "web"))
		id := b.start(t, pod, containerConfig("main", "sleep", "1000"))
		begin := time.Now()
		if err := b.StopContainer(t.Context(), id, 30); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("a container that ignores TERM was stopped after %v, want 30s", took)
		}
		if c := b.status(t, id); c.ExitCode != 137 {
			t.Errorf("exit code is %d, want 137", c.ExitCode)
		}
		b.runtime.Close()
	})
}

func TestRestart(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	running := b.start(t, pod, containerConfig("main", "sleep", "1000"))
	ended := b.start(t, pod, containerConfig("job", "sh", "-c", "exit 3"))
	if _, err := b.runtime.Wait(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	before, err := b.PodSandboxStatus(t.Context(), pod, false)
	if err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	after, err := b.PodSandboxStatus(t.Context(), pod, false)
	if err != nil {
		t.Fatal(err)
	}
	before.Timestamp, after.Timestamp = 0, 0
	if before.String() != after.String() {
		t.Errorf("pod before the restart:\n%v\nafter it:\n%v", before, after)
	}
	if c := b.status(t, running); c.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("running container is %v after the restart", c.State)
	}
	if c := b.status(t, ended); c.ExitCode != 3 {
		t.Errorf("ended container has exit code %d after the restart, want 3", c.ExitCode)
	}
	if err := b.RemovePodSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	if list, err := b.ListPodSandbox(t.Context(), nil); err != nil || len(list) != 0 {
		t.Errorf("pods after removal and a restart: %v, %v", list, err)
	}
}

func TestLostRecords(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	b.start(t, pod, containerConfig("main", "sleep", "1000"))
	if err := os.RemoveAll(filepath.Join(b.dir, "cri")); err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := b.GetContainerEvents(ctx, make(chan *runtimeapi.ContainerEventResponse, 100),
		func(runtimeapi.RuntimeService_GetContainerEventsClient) { cancel() })
	if !errors.Is(err, context.Canceled) || b.runtime.String() != "" || len(b.images.layers) != 0 {
		t.Errorf("without records there are still containers %q and layers %v (%v)", b.runtime, b.images.layers, err)
	}
}

func TestRunPodFails(t *testing.T) {
	b := newBench(t, nil)
	b.network.fail = errkind.New(errkind.Exhausted, "no address left")
	if _, err := b.RunPodSandbox(t.Context(), podConfig(b.dir, "web"), ""); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("run pod returned %v, want the network's reason", err)
	}
	if list, _ := b.ListPodSandbox(t.Context(), nil); len(list) != 0 || len(b.runtime.Namespaces()) != 0 {
		t.Errorf("a pod that could not be set up left %v and namespaces %v", list, b.runtime.Namespaces())
	}
	st, err := b.Status(t.Context(), false)
	if err != nil || st.Status.Conditions[1].Status || st.Status.Conditions[1].Message != "no address left" {
		t.Errorf("status is %v, %v, want the network's reason", st, err)
	}
}

func TestCreateErrors(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	for _, tc := range []struct {
		name   string
		change func(*runtimeapi.ContainerConfig)
		kind   error
		words  string
	}{
		{"no image", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "none" }, errkind.NotFound, `image "none" is not present`},
		{"capability", func(c *runtimeapi.ContainerConfig) {
			c.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"FLY"}}}}
		}, errkind.Invalid, `unknown capability "CAP_FLY"`},
		{"device", func(c *runtimeapi.ContainerConfig) {
			c.Devices = []*runtimeapi.Device{{HostPath: "/dev/none"}}
		}, errkind.Invalid, "device /dev/none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := containerConfig("main", "true")
			tc.change(config)
			_, err := b.CreateContainer(t.Context(), pod, config, nil)
			if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("create returned %v, want %q", err, tc.words)
			}
		})
	}
	entries, _ := os.ReadDir(b.containerDir(""))
	if len(entries) != 0 || len(b.images.layers) != 0 {
		t.Errorf("failed creates left records %v and layers %v", entries, b.images.layers)
	}
	id := b.create(t, pod, containerConfig("main", "nosuchthing"))
	err := b.StartContainer(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), `exec: "nosuchthing": executable file not found in $PATH`) {
		t.Errorf("start returned %v", err)
	}
	if c := b.status(t, id); c.Reason != "StartError" || c.ExitCode != 128 || !strings.Contains(c.Message, "not found in $PATH") {
		t.Errorf("status is %v", c)
	}
	if _, err := b.ContainerStatus(t.Context(), "none", false); !errors.Is(err, errkind.NotFound) {
		t.Errorf("status of nothing is %v", err)
	}
}

func TestOOM(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	id := b.start(t, pod, containerConfig("main", "sleep", "100"))
	b.runtime.OOM(id)
	b.runtime.Wait(t.Context(), id)
	if c := b.status(t, id); c.Reason != "OOMKilled" || c.ExitCode != 137 {
		t.Errorf("status is %v", c)
	}
}

func TestExec(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	id := b.start(t, pod, containerConfig("main", "sleep", "100"))
	out, bad, err := b.ExecSync(t.Context(), id, []string{"sh", "-c", "echo a; echo b >&2; exit 6"}, time.Minute)
	var exit ExitError
	if string(out) != "a\n" || string(bad) != "b\n" || !errors.As(err, &exit) || exit.Code != 6 {
		t.Errorf("exec gave %q, %q, %v", out, bad, err)
	}
	_, _, err = b.ExecSync(t.Context(), id, []string{"sleep", "50"}, time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow exec returned %v, want a time-out", err)
	}
	var w bytes.Buffer
	code, err := b.ExecStream(t.Context(), id, []string{"cat"}, false, strings.NewReader("x"), &w, nil, nil)
	if code != 0 || err != nil || w.String() != "x" {
		t.Errorf("exec stream gave %d, %v, %q", code, err, w.String())
	}
}

func TestStats(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	b.start(t, pod, containerConfig("a", "sleep", "100"))
	b.start(t, pod, containerConfig("b", "sleep", "100"))
	b.start(t, pod, containerConfig("done", "true"))
	st, err := b.PodSandboxStats(t.Context(), pod)
	if err != nil || len(st.Linux.Containers) < 2 || st.Linux.Memory.WorkingSetBytes.Value < 2<<20 {
		t.Errorf("pod statistics are %v, %v", st, err)
	}
	list, err := b.ListPodSandboxStats(t.Context(), nil)
	if err != nil || len(list) != 1 {
		t.Errorf("statistics list is %v, %v", list, err)
	}
}

func TestImages(t *testing.T) {
	b := newBench(t, nil)
	ctx := t.Context()
	if r, err := b.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "none"}, false); err != nil || r.Image != nil {
		t.Errorf("status of a missing image is %v, %v", r, err)
	}
	r, err := b.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "docker.io/library/busybox:latest"}, false)
	if err != nil || r.Image.Id != "sha256:box" || r.Image.Uid.GetValue() != 1000 || r.Image.Size != 42 {
		t.Errorf("image status is %v, %v", r, err)
	}
	if _, err := b.PullImage(ctx, &runtimeapi.ImageSpec{Image: "x"}, &runtimeapi.AuthConfig{Password: "wrong"}, nil); !errors.Is(err, errkind.Denied) {
		t.Errorf("pull with a wrong password returned %v", err)
	}
	if id, err := b.PullImage(ctx, &runtimeapi.ImageSpec{Image: "x"}, nil, nil); err != nil || id != "sha256:pulled" {
		t.Errorf("pull returned %q, %v", id, err)
	}
	for range 2 {
		if err := b.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: "x"}); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if fs, err := b.ImageFsInfo(ctx); err != nil || fs.ImageFilesystems[0].UsedBytes.Value != 100 {
		t.Errorf("file system information is %v, %v", fs, err)
	}
}

func TestListFilters(t *testing.T) {
	b := newBench(t, nil)
	one, two := b.pod(t, podConfig(b.dir, "one")), b.pod(t, podConfig(b.dir, "two"))
	b.start(t, one, containerConfig("a", "sleep", "100"))
	b.create(t, two, containerConfig("b", "sleep", "100"))
	for _, tc := range []struct {
		name   string
		filter *runtimeapi.ContainerFilter
		want   []string
	}{
		{"all", nil, []string{"b", "a"}},
		{"pod", &runtimeapi.ContainerFilter{PodSandboxId: one}, []string{"a"}},
		{"state", &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_CREATED}}, []string{"b"}},
		{"label", &runtimeapi.ContainerFilter{LabelSelector: map[string]string{"name": "a"}}, []string{"a"}},
		{"label without value", &runtimeapi.ContainerFilter{LabelSelector: map[string]string{"none": ""}}, nil},
	} {
		list, err := b.ListContainers(t.Context(), tc.filter)
		var got []string
		for _, c := range list {
			got = append(got, c.Metadata.Name)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.name, err, diff)
		}
	}
	pods, err := b.ListPodSandbox(t.Context(), &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "two"}})
	if err != nil || len(pods) != 1 || pods[0].Id != two {
		t.Errorf("pods with a label are %v, %v", pods, err)
	}
}

func TestUpdateResources(t *testing.T) {
	b := newBench(t, nil)
	pod := b.pod(t, podConfig(b.dir, "web"))
	id := b.start(t, pod, containerConfig("main", "sleep", "100"))
	err := b.UpdateContainerResources(t.Context(), id, &runtimeapi.ContainerResources{
		Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.runtime.Resources(id); r == nil || *r.Memory.Limit != 1<<20 {
		t.Errorf("the runtime got limits %+v", r)
	}
	if c := b.status(t, id); c.Resources.Linux.MemoryLimitInBytes != 1<<20 {
		t.Errorf("status reports limits %v", c.Resources)
	}
}

// specCases are the golden specifications under testdata.
func specCases() map[string]func(*specInput) {
	security := func(in *specInput) *runtimeapi.LinuxContainerSecurityContext {
		in.config.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{}}
		return in.config.Linux.SecurityContext
	}
	return map[string]func(*specInput){
		"plain": func(*specInput) {},
		"privileged": func(in *specInput) {
			sc := security(in)
			sc.Privileged, sc.MaskedPaths = true, []string{"/proc/kcore"}
			in.devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}}
		},
		"restricted": func(in *specInput) {
			sc := security(in)
			sc.ReadonlyRootfs, sc.NoNewPrivs = true, true
			sc.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}
			sc.SupplementalGroups = []int64{5, 6}
			sc.MaskedPaths, sc.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
			in.config.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 102, CpuQuota: 50000, CpuPeriod: 100000,
				MemoryLimitInBytes: 64 << 20, OomScoreAdj: 900, CpusetCpus: "0"}
		},
		"host": func(in *specInput) {
			in.pod.Addresses, in.pod.Namespaces = PodAddresses{}, container.Namespaces{}
			in.pod.Config.Hostname = ""
			in.pod.Config.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{
				Network: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE}}
		},
		"shared-pids-and-mounts": func(in *specInput) {
			in.holderPid = 77
			in.pod.Config.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}}
			in.config.Mounts = []*runtimeapi.Mount{
				{ContainerPath: "/data/deep", HostPath: "/v/deep", Readonly: true, RecursiveReadOnly: true},
				{ContainerPath: "/data", HostPath: "/v", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL},
				{ContainerPath: "/etc/hosts", HostPath: "/k/hosts"},
			}
			swappiness := uint64(7)
			in.extras = extras.Container{PidsLimit: 9, UnsetEnv: []string{"LANG"}, Ulimits: map[string]extras.Ulimit{"nofile": {Soft: 1, Hard: 2}, "core": {Soft: -1, Hard: -1}},
				CPU: &extras.CPU{Shares: 9, Set: "0-1"}, Memory: &extras.Memory{Swap: -1, Swappiness: &swappiness}}
			in.config.Tty = true
			in.config.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b=c")}, {Key: "PATH", Value: []byte("/x")}}
		},
	}
}

func TestSpecGolden(t *testing.T) {
	for name, change := range specCases() {
		t.Run(name, func(t *testing.T) {
			in := specInput{
				host: Host{Capabilities: []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"}, Swap: true}, id: "c1",
				pod: &sandboxRecord{ID: "p1", Config: podConfig("/d", "web"), Cgroup: "/top/pod1",
					Addresses:  PodAddresses{NetNSPath: "/netns/web"},
					Namespaces: container.Namespaces{IPC: "/ns/ipc", UTS: "/ns/uts", Shm: "/ns/shm"}},
				config: containerConfig("main"), image: busyboxImage(),
				files: podFiles{hostname: "/p/hostname", resolvConf: "/p/resolv.conf", hosts: "/p/hosts"},
			}
			change(&in)
			spec, err := makeSpec(in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			testkit.Golden(t, name+".json", string(got)+"\n")
		})
	}
}

func TestSeccompProfile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"ok.json": `{"defaultAction":"SCMP_ACT_LOG"}`, "bad.json": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ dir, name, err string }{
		{dir, "ok.json", ""},
		{dir, "localhost/ok.json", ""},
		{dir, "../" + filepath.Base(dir) + "/ok.json", "no such file"}, // it stays within its folder
		{"", filepath.Join(dir, "ok.json"), ""},
		{"", "ok.json", "has no folder for profiles"},
		{dir, "bad.json", "is not JSON"},
	} {
		filter, err := loadProfile(tc.dir, tc.name, &specs.Spec{})
		switch {
		case tc.err == "" && (err != nil || filter.DefaultAction != specs.ActLog):
			t.Errorf("%s in %s: %v, %v", tc.name, tc.dir, filter, err)
		case tc.err != "" && (!errors.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s in %s: %v, want %q", tc.name, tc.dir, err, tc.err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	image := Image{Config: imagespec.ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}}
	for _, tc := range []struct {
		name          string
		command, args []string
		x             extras.Container
		want          string
	}{
		{"image", nil, nil, extras.Container{}, "entry cmd"},
		{"command", []string{"c"}, nil, extras.Container{}, "c"},
		{"args", nil, []string{"a"}, extras.Container{}, "entry a"},
		{"both", []string{"c"}, []string{"a"}, extras.Container{}, "c a"},
		{"no entrypoint", nil, nil, extras.Container{ClearCommand: true}, "cmd"},
		{"no cmd", nil, nil, extras.Container{ClearArgs: true}, "entry"},
	} {
		got, err := commandLine(&runtimeapi.ContainerConfig{Command: tc.command, Args: tc.args}, image, tc.x)
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
	if _, err := commandLine(&runtimeapi.ContainerConfig{}, Image{}, extras.Container{}); !errors.Is(err, errkind.Invalid) {
		t.Errorf("nothing to run gives %v", err)
	}
}

func TestUserText(t *testing.T) {
	n := func(v int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: v} }
	for _, tc := range []struct {
		name, image string
		sc          *runtimeapi.LinuxContainerSecurityContext
		want        string
	}{
		{"nothing", "", nil, "0"},
		{"image", "app:grp", nil, "app:grp"},
		{"uid", "app:grp", &runtimeapi.LinuxContainerSecurityContext{RunAsUser: n(5)}, "5"},
		{"uid and gid", "app", &runtimeapi.LinuxContainerSecurityContext{RunAsUser: n(5), RunAsGroup: n(6)}, "5:6"},
		{"name", "app", &runtimeapi.LinuxContainerSecurityContext{RunAsUsername: "bob"}, "bob"},
		{"gid alone", "app:grp", &runtimeapi.LinuxContainerSecurityContext{RunAsGroup: n(6)}, "app:6"},
		{"gid for root", "", &runtimeapi.LinuxContainerSecurityContext{RunAsGroup: n(6)}, "0:6"},
	} {
		got, err := userText(tc.sc, Image{Config: imagespec.ImageConfig{User: tc.image}})
		if err != nil || got != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestSignals(t *testing.T) {
	if got := signalValue(37); got != runtimeapi.Signal_SIGNAL_SIGRTMINPLUS3 {
		t.Errorf("37 is %v", got)
	}
}

// TestHalfMadePodIsNotSeen holds that a pod shows up only once it is ready: seen before, it would be taken for a broken one.
func TestHalfMadePodIsNotSeen(t *testing.T) {
	b := newBench(t, nil)
	seen := -1
	b.network.during = func() {
		list, err := b.ListPodSandbox(t.Context(), nil)
		if err != nil {
			t.Error(err)
		}
		seen = len(list)
	}
	b.pod(t, podConfig(b.dir, "slow"))
	if seen != 0 {
		t.Errorf("while the pod was made: %d pods listed, want none", seen)
	}
	list, err := b.ListPodSandbox(t.Context(), nil)
	if err != nil || len(list) != 1 || list[0].State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("once it was made: got %v, %v; want it ready", list, err)
	}
}

// TestAnnotationsAskForNothing holds that what anybody may write on a pod does not reach its containers: neither a user nor a device.
func TestAnnotationsAskForNothing(t *testing.T) {
	b := newBench(t, nil)
	config := podConfig(b.dir, "web")
	config.Annotations = map[string]string{"engine.cuppa.dev/user": "root", "engine.cuppa.dev/devices": `["/dev/null:/dev/disk:rwm"]`}
	pod := b.pod(t, config)
	c := containerConfig("main", "sleep", "1000")
	c.Annotations = map[string]string{"engine.cuppa.dev/user": "root", "engine.cuppa.dev/cgroup-extra": `{"pids":{"limit":7}}`}
	c.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: &runtimeapi.Int64Value{Value: 1000}}}
	spec, _ := b.runtime.Spec(b.create(t, pod, c))
	if spec.User != "1000" || len(spec.OCI.Linux.Devices) != 0 || spec.OCI.Linux.Resources.Pids != nil {
		t.Errorf("by annotations the container got user %q, devices %v and pids %v; want 1000 and nothing", spec.User, spec.OCI.Linux.Devices, spec.OCI.Linux.Resources.Pids)
	}
}

// TestExtrasReachTheEngine holds that the same wishes act when they come as values.
func TestExtrasReachTheEngine(t *testing.T) {
	b := newBench(t, nil)
	pod, err := b.RunSandbox(t.Context(), podConfig(b.dir, "web"), "", extras.Document{Version: extras.Version, ShmSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c := containerConfig("main", "sleep", "1000")
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: filepath.Join(b.dir, "data")}, {ContainerPath: "/logs", HostPath: filepath.Join(b.dir, "logs")}}
	id, err := b.MakeContainer(t.Context(), pod, c, extras.Container{User: "root:disk", Init: true, StopSignal: "USR1", PidsLimit: 7, Fill: []string{"/data"},
		Devices: []extras.Device{{Host: "/dev/null", Path: "/dev/disk", Access: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := b.runtime.Spec(id)
	if spec.User != "root:disk" || !spec.Init || *spec.OCI.Linux.Resources.Pids.Limit != 7 || len(spec.Fills) != 1 || spec.Fills[0].From != "/data" {
		t.Errorf("got user %q, init %v, pids %v, fills %v", spec.User, spec.Init, spec.OCI.Linux.Resources.Pids, spec.Fills)
	}
	if d := spec.OCI.Linux.Devices; len(d) != 1 || d[0].Path != "/dev/disk" || spec.OCI.Linux.Resources.Devices[1].Access != "r" {
		t.Errorf("got devices %v and rules %v, want /dev/disk to read", d, spec.OCI.Linux.Resources.Devices)
	}
	if got := b.namespaceSpec(b.sandboxes[pod]).ShmSize; got != 1<<20 {
		t.Errorf("got %d bytes of shared memory, want %d", got, 1<<20)
	}
	if got := b.containers[id].StopSignal; got != 10 {
		t.Errorf("got stop signal %d, want 10", got)
	}
}
