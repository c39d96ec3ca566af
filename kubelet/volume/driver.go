package volume

import (
	"context"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
)

// Driver puts one kind of volume in place and takes it away. The steps are those of the Container Storage Interface, so that a driver
// which speaks that is one more row of the table.
//
// Every step may be called again after it has succeeded, or after it was cut short, and then changes only what is not right yet. Steps
// of one volume of one pod never run at the same time; those of different pods do. Stage and Publish see the pod; Unpublish and Unstage
// may come after a restart, when the pod is gone from the API, and have only the record. None waits beyond ctx. The Keeper names the
// volume in errors.
type Driver interface {
	// Stage makes the volume present on this node.
	Stage(ctx context.Context, v Request) error
	// Publish makes it usable for the pod at the record's path, and brings what it shows up to date. It returns when it should be
	// called again at the latest; zero if never.
	Publish(ctx context.Context, v Request) (due time.Time, err error)
	// Unpublish takes it away from the pod, with its contents if they are the pod's own. No container uses it any more.
	Unpublish(ctx context.Context, r Record) error
	// Unstage undoes Stage, after the last Unpublish.
	Unstage(ctx context.Context, r Record) error
	// Usage measures it. Precondition if it is not the pod's to be measured.
	Usage(ctx context.Context, r Record) (mount.Used, error)
}

// Request is one volume of one pod.
type Request struct {
	Record
	Pod   *corev1.Pod
	Spec  *corev1.Volume
	Facts environ.Facts
}

// Record is what is kept of a volume on disk while the pod has it.
type Record struct {
	Pod    types.UID `json:"pod"`
	Volume string    `json:"volume"` // its name in the pod
	Driver string    `json:"driver"` // the kind of its row
	Path   string    `json:"path,omitempty"`
}

// row is one kind of volume.
type row struct {
	kind string // as the API calls it
	is   func(*corev1.VolumeSource) bool
	// place is where the volume is on the host; nil if it is nowhere there.
	place  func(*Keeper, types.UID, *corev1.Volume) string
	driver func(*Keeper) Driver
	// mirrors says that it shows what is in the API: it is published anew when that changes, and no container may write to it.
	mirrors bool
}

// table is every kind of volume that this node knows. A new kind is a row here and a file with its driver.
func table() []row {
	return []row{
		{"emptyDir", func(s *corev1.VolumeSource) bool { return s.EmptyDir != nil }, onDisk, func(k *Keeper) Driver { return emptyDir{keeper: k} }, false},
		{"hostPath", func(s *corev1.VolumeSource) bool { return s.HostPath != nil }, hostsOwn, func(*Keeper) Driver { return hostPath{} }, false},
		{"configMap", func(s *corev1.VolumeSource) bool { return s.ConfigMap != nil }, inMemory, newMirror, true},
		{"secret", func(s *corev1.VolumeSource) bool { return s.Secret != nil }, inMemory, newMirror, true},
		{"downwardAPI", func(s *corev1.VolumeSource) bool { return s.DownwardAPI != nil }, inMemory, newMirror, true},
		{"projected", func(s *corev1.VolumeSource) bool { return s.Projected != nil }, inMemory, newMirror, true},
		{"image", func(s *corev1.VolumeSource) bool { return s.Image != nil }, nil, func(*Keeper) Driver { return byRuntime{} }, false},
	}
}

func onDisk(k *Keeper, uid types.UID, v *corev1.Volume) string {
	return filepath.Join(k.PodDir(uid), "volumes", "empty-dir", v.Name)
}

func inMemory(k *Keeper, uid types.UID, v *corev1.Volume) string {
	return filepath.Join(k.RunPodDir(uid), "volumes", v.Name)
}

func hostsOwn(_ *Keeper, _ types.UID, v *corev1.Volume) string { return v.HostPath.Path }

// rowOf finds the row of a volume.
func (k *Keeper) rowOf(v *corev1.Volume) (row, error) {
	for _, r := range k.rows {
		if r.is(&v.VolumeSource) {
			return r, nil
		}
	}
	return row{}, errkind.New(errkind.Invalid, "this kind of volume is not supported on this node")
}

func (k *Keeper) rowNamed(kind string) (row, bool) {
	for _, r := range k.rows {
		if r.kind == kind {
			return r, true
		}
	}
	return row{}, false
}

// record says what is to be kept of a volume.
func (k *Keeper) record(uid types.UID, v *corev1.Volume, r row) Record {
	out := Record{Pod: uid, Volume: v.Name, Driver: r.kind}
	if r.place != nil {
		out.Path = r.place(k, uid, v)
	}
	return out
}

// unstaged is for drivers whose volumes are on the node without a step of their own.
type unstaged struct{}

func (unstaged) Stage(context.Context, Request) error  { return nil }
func (unstaged) Unstage(context.Context, Record) error { return nil }

// notOurs is for drivers whose volumes are neither removed nor measured by us.
type notOurs struct{ unstaged }

func (notOurs) Unpublish(context.Context, Record) error { return nil }

func (notOurs) Usage(_ context.Context, r Record) (mount.Used, error) {
	return mount.Used{}, errkind.New(errkind.Precondition, "measure volume %q: the contents of a %s volume are not the pod's", r.Volume, r.Driver)
}

// byRuntime is the driver of what the runtime mounts by itself, as Mounts asks it to.
type byRuntime struct{ notOurs }

func (byRuntime) Publish(context.Context, Request) (time.Time, error) { return time.Time{}, nil }
