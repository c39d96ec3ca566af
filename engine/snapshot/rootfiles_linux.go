package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/cuppa-project/cuppa/engine/container"
)

// The files of a root.
const (
	rootMeta  = "root.json"
	rootUpper = "fs"
	rootWork  = "work"
)

// make writes a root's folders, so that they are there as a whole or not at all.
func (r *Roots) make(dir string, root Root, options []string) error {
	data, err := json.Marshal(root)
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(r.trash, "new-")
	if err != nil {
		return err
	}
	upper := filepath.Join(fresh, rootUpper)
	err = errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(filepath.Join(fresh, rootWork), 0o711), os.Chmod(upper, 0o755), os.Chmod(fresh, 0o711),
		likeTop(upper, options), os.WriteFile(filepath.Join(fresh, rootMeta), data, 0o600))
	if err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// likeTop gives the root directory the owner that the topmost layer has: the writable folder hides it.
func likeTop(upper string, options []string) error {
	for _, option := range options {
		if lower, ok := strings.CutPrefix(option, "lowerdir="); ok {
			top, _, _ := strings.Cut(lower, ":")
			info, err := os.Stat(top)
			if err != nil {
				return err
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Uid != 0 || st.Gid != 0) {
				return os.Lchown(upper, int(st.Uid), int(st.Gid))
			}
		}
	}
	return nil
}

// discard moves a folder to where Sweep removes it.
func (r *Roots) discard(dir string) error {
	place, err := os.MkdirTemp(r.trash, "old-")
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(place, "x"))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(place)
	}
	return err
}

// Sweep removes the files of roots that are gone. It takes as long as that takes, and runs in the background.
func (r *Roots) Sweep() error {
	r.mu.Lock() // what is there then has been moved there as a whole
	entries, err := os.ReadDir(r.trash)
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("remove files of old roots: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "old-") {
			if err := os.RemoveAll(filepath.Join(r.trash, entry.Name())); err != nil {
				return fmt.Errorf("remove files of old roots: %w", err)
			}
		}
	}
	return nil
}

// diskUsage adds up blocks and inodes below dir; files with several names count once. What vanishes meanwhile counts as nothing.
func diskUsage(dir string) (bytes, inodes int64, _ error) {
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !seen[st.Ino] {
			seen[st.Ino] = true
			bytes, inodes = bytes+st.Blocks*512, inodes+1
		}
		return nil
	})
	return bytes, inodes, err
}

func convert(mounts []mount.Mount) []container.Mount {
	out := make([]container.Mount, len(mounts))
	for i, m := range mounts {
		out[i] = container.Mount{Type: m.Type, Source: m.Source, Options: m.Options}
	}
	return out
}
