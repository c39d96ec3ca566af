package volume

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The names that make an update atomic: a reader sees all old files or all new ones, because every visible name is a link through
// dataLink, which is replaced in one step.
const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// publish makes dir hold exactly files. Nothing is touched if it does already. It calls step before each step that a reader might see.
func publish(dir string, files map[string]file, group *int64, step func(string)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := checkNames(files); err != nil {
		return err
	}
	if same(dir, files) {
		return nil
	}
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := fill(fresh, files, group); err != nil {
		_ = os.RemoveAll(fresh)
		return err
	}
	step("link")
	link := filepath.Join(dir, dataLinkNew)
	_ = os.Remove(link)
	if err := os.Symlink(filepath.Base(fresh), link); err != nil {
		return err
	}
	step("switch")
	if err := os.Rename(link, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	step("names")
	if err := relink(dir, files); err != nil {
		return err
	}
	step("old files")
	if old != "" && !strings.Contains(old, "/") {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

func checkNames(files map[string]file) error {
	for name := range files {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return fmt.Errorf("%q is no name for a file in a volume", name)
		}
	}
	return nil
}

func fill(dir string, files map[string]file, group *int64) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return err
		}
		mode := fs.FileMode(f.mode)
		uid, gid := -1, -1
		if f.uid != nil {
			uid = int(*f.uid)
		}
		if group != nil {
			gid, mode = int(*group), mode|0o440
		}
		if uid >= 0 || gid >= 0 {
			if err := os.Lchown(path, uid, gid); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	return nil
}

// relink makes the visible names: one link for each first path element, and none for what is gone.
func relink(dir string, files map[string]file) error {
	want := map[string]bool{}
	for name := range files {
		want[strings.SplitN(name, "/", 2)[0]] = true
	}
	for name := range want {
		path := filepath.Join(dir, name)
		if target, err := os.Readlink(path); err == nil && target == filepath.Join(dataLink, name) {
			continue
		}
		if err := os.Symlink(filepath.Join(dataLink, name), path); err != nil && !os.IsExist(err) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, "..") && !want[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// same tells whether dir shows exactly files already.
func same(dir string, files map[string]file) bool {
	current := filepath.Join(dir, dataLink)
	if _, err := os.Stat(current); err != nil {
		return false
	}
	count := 0
	resolved, err := filepath.EvalSymlinks(current)
	if err != nil {
		return false
	}
	err = filepath.WalkDir(resolved, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(resolved, path)
		want, ok := files[name]
		if !ok {
			return fs.SkipAll
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Equal(data, want.data) {
			count++
		}
		return nil
	})
	if err != nil || count != len(files) {
		return false
	}
	return allLinked(dir, resolved, files)
}

// allLinked catches an update that was cut short between the two steps, and files that should go.
func allLinked(dir, resolved string, files map[string]file) bool {
	for name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	total := 0
	_ = filepath.WalkDir(resolved, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			total++
		}
		return err
	})
	return total == len(files)
}
