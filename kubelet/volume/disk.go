package volume

import (
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// setUpEmptyDir makes the directory, on disk or in memory. Everybody may write there, since the containers of a pod may
// run as anybody.
func (k *Keeper) setUpEmptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := k.emptyDir(pod.UID, v.Name)
	made, err := makeDir(dir)
	if err != nil {
		return err
	}
	switch medium := v.EmptyDir.Medium; {
	case medium == corev1.StorageMediumDefault:
	case medium == corev1.StorageMediumMemory:
		if err := mountTmpfs(dir, memoryLimit(pod, v.EmptyDir.SizeLimit)); err != nil {
			return err
		}
	default:
		return errkind.New(errkind.Invalid, "medium %q is not supported on this node", medium)
	}
	if !made {
		return nil
	}
	mode := os.ModePerm
	if group := fsGroup(pod); group != nil {
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(dir, mode)
}

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

// setUpHostPath checks or makes a path of the host's own.
func setUpHostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	info, err := os.Stat(source.Path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err != nil {
		return makeHostPath(kind, source.Path)
	}
	want, ok := map[corev1.HostPathType]struct {
		is   bool
		name string
	}{
		corev1.HostPathUnset:             {true, ""},
		corev1.HostPathDirectoryOrCreate: {info.IsDir(), "directory"},
		corev1.HostPathDirectory:         {info.IsDir(), "directory"},
		corev1.HostPathFileOrCreate:      {info.Mode().IsRegular(), "file"},
		corev1.HostPathFile:              {info.Mode().IsRegular(), "file"},
		corev1.HostPathSocket:            {info.Mode()&os.ModeSocket != 0, "socket"},
		corev1.HostPathCharDev:           {info.Mode()&os.ModeCharDevice != 0, "character device"},
		corev1.HostPathBlockDev:          {info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0, "block device"},
	}[kind]
	switch {
	case !ok:
		return errkind.New(errkind.Invalid, "hostPath type check failed: %s is not a valid volume type", kind)
	case !want.is:
		return errkind.New(errkind.Precondition, "hostPath type check failed: %s is not a %s", source.Path, want.name)
	default:
		return nil
	}
}

func makeHostPath(kind corev1.HostPathType, path string) error {
	switch kind {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(path, 0o755)
	case corev1.HostPathFileOrCreate:
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return file.Close()
	default:
		return errkind.New(errkind.Precondition, "hostPath type check failed: %s does not exist", path)
	}
}
