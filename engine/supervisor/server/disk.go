//go:build cgo

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Each container has a folder StateDir/ID with spec.json, written once, and status.json, rewritten at each step of its life. An
// exit is synced to the disk.
const (
	specFile   = "spec.json"
	statusFile = "status.json"
)

func (s *Server) stateDir(id string) string { return filepath.Join(s.cfg.StateDir, id) }

// validID refuses what would not be one plain folder name.
func validID(id string) error {
	ok := id != "" && len(id) <= 200 && !strings.HasPrefix(id, ".")
	for _, r := range id {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.+", r))
	}
	if !ok {
		return errkind.New(errkind.Invalid, "ID %q must consist of letters, digits and _ - . +", id)
	}
	return nil
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// syncRecord makes a container's status survive a power cut. It is done after everything that somebody waits for; a container that is
// removed meanwhile has nothing to keep.
func syncRecord(dir string) error {
	for _, path := range []string{filepath.Join(dir, statusFile), dir} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

// record is a container as its folder tells.
type record struct {
	spec   stored
	status container.Status
}

// stored is a specification as it is kept.
type stored struct {
	container.Spec
	Filter string // see ctr.filter
}

// records reads all folders. A folder whose creation was not finished is removed. A power cut may leave a record in part, or empty: a
// container whose status that befell counts as running, so that whoever takes it over looks what became of it; one whose specification
// it befell cannot be taken over, and is removed with what it has left.
func (s *Server) records() ([]record, error) {
	entries, err := os.ReadDir(s.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("read state folder: %w", err)
	}
	var all []record
	for _, e := range entries {
		if !e.IsDir() || validID(e.Name()) != nil {
			continue
		}
		r, ok, err := s.record(e.Name())
		if err != nil {
			s.log.Warn("container record is unreadable", "container", e.Name(), "err", err)
		}
		if ok {
			all = append(all, r)
			continue
		}
		if err := s.discard(e.Name()); err != nil {
			s.log.Warn("container record not removed", "container", e.Name(), "err", err)
		}
	}
	return all, nil
}

// record reads one folder and tells whether there is enough to go on with.
func (s *Server) record(id string) (r record, ok bool, err error) {
	dir := s.stateDir(id)
	err = readJSON(filepath.Join(dir, specFile), &r.spec)
	if err == nil && (r.spec.ID != id || r.spec.OCI == nil || r.spec.OCI.Process == nil || r.spec.OCI.Linux == nil) {
		err = errkind.New(errkind.Invalid, "%s is no specification of this container", specFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	err = readJSON(filepath.Join(dir, statusFile), &r.status)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil || r.status.ID != id {
		r.status = container.Status{ID: id, State: container.Running, Labels: r.spec.Labels, LogPath: r.spec.LogPath}
		if info, err := os.Stat(filepath.Join(dir, specFile)); err == nil {
			r.status.CreatedAt = info.ModTime()
		}
	}
	return r, true, err
}

// discard removes a folder that tells of no container, and what runs under its name.
func (s *Server) discard(id string) error {
	if rc, err := libcontainer.Load(s.runcDir(), id); err == nil {
		if err := rc.Destroy(); err != nil {
			return fmt.Errorf("destroy container: %w", err)
		}
	}
	root := s.rootDir(id)
	if err := unmountAll(root); err != nil {
		return err
	}
	if err := os.Remove(root); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(s.releaseImages(id), os.RemoveAll(s.pipeDir(id)), os.RemoveAll(s.stateDir(id)))
}
