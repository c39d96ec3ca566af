package volume

import (
	"context"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// emptyDir is the driver of folders that live as long as their pod, on disk or in memory.
type emptyDir struct {
	unstaged
	keeper *Keeper
}

// Publish makes the folder. Everybody may write there, since the containers of a pod may run as anybody.
func (emptyDir) Publish(_ context.Context, v Request) (time.Time, error) {
	medium := v.Spec.EmptyDir.Medium
	if medium != corev1.StorageMediumDefault && medium != corev1.StorageMediumMemory {
		return time.Time{}, errkind.New(errkind.Invalid, "medium %q is not supported on this node", medium)
	}
	made, err := makeDir(v.Path)
	if err != nil {
		return time.Time{}, err
	}
	if medium == corev1.StorageMediumMemory {
		if err := mountTmpfs(v.Path, memoryLimit(v.Pod, v.Spec.EmptyDir.SizeLimit)); err != nil {
			return time.Time{}, err
		}
	}
	if !made {
		return time.Time{}, nil
	}
	mode := os.ModePerm
	if group := fsGroup(v.Pod); group != nil {
		if err := os.Chown(v.Path, -1, int(*group)); err != nil {
			return time.Time{}, err
		}
		mode |= os.ModeSetgid
	}
	return time.Time{}, os.Chmod(v.Path, mode)
}

// Unpublish removes the folder, but not what a container may have mounted in it.
func (d emptyDir) Unpublish(_ context.Context, r Record) error { return d.keeper.clear(r.Path) }

func (emptyDir) Usage(_ context.Context, r Record) (mount.Used, error) { return mount.Usage(r.Path) }

func makeDir(dir string) (made bool, err error) {
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	return true, os.MkdirAll(dir, 0o750)
}

// memoryLimit is how large a volume in memory may grow: its own limit, and no more than all containers together may use.
func memoryLimit(pod *corev1.Pod, limit *resource.Quantity) int64 {
	size := int64(0)
	if limit != nil {
		size = limit.Value()
	}
	total := int64(0)
	for i := range pod.Spec.Containers {
		memory, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceMemory]
		if !ok {
			return size
		}
		total += memory.Value()
	}
	if size == 0 || total < size {
		return total
	}
	return size
}
