package volume

import (
	"context"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// hostPath is the driver of the host's own paths: they stay, whatever becomes of the pod.
type hostPath struct{ notOurs }

// Publish checks or makes the path.
func (hostPath) Publish(_ context.Context, v Request) (time.Time, error) {
	return time.Time{}, checkHostPath(v.Spec.HostPath)
}

// checkHostPath checks that a path is of the type that the pod says, or makes it.
func checkHostPath(source *corev1.HostPathVolumeSource) error {
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
