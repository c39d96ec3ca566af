// Package volume keeps named volumes: folders that outlive the containers that use them.
//
// A volume is <dir>/<name>/_data for its files and <dir>/<name>/volume.json for what is known of it. A folder without volume.json (made
// by hand, or by a mount that named it first) is a volume without labels. It mounts nothing. Start with Store.
package volume

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// Volume is one named volume.
type Volume struct {
	Name    string
	Path    string // of its files
	Labels  map[string]string
	Created time.Time
}

// Config says where volumes are and who uses them.
type Config struct {
	Dir string
	// Users names what uses a volume at present, for messages and to refuse its removal; nil: nothing ever does.
	Users func(name string) []string
}

// Store holds volumes. Every method is safe for concurrent use.
type Store struct {
	cfg Config
	mu  sync.Mutex
}

// The files of a volume.
const (
	dataDir  = "_data"
	metaFile = "volume.json"
)

type meta struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created"`
}

// New returns the store of the volumes below cfg.Dir.
func New(cfg Config) (*Store, error) {
	if cfg.Users == nil {
		cfg.Users = func(string) []string { return nil }
	}
	if err := os.MkdirAll(cfg.Dir, 0o711); err != nil {
		return nil, errkind.New(errkind.Unavailable, "open volumes: %w", err)
	}
	return &Store{cfg: cfg}, nil
}

// List returns all volumes by name.
func (s *Store) List() ([]Volume, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "list volumes: %w", err)
	}
	var list []Volume
	for _, entry := range entries {
		v, err := s.Get(entry.Name())
		if errors.Is(err, errkind.NotFound) || errors.Is(err, errkind.Invalid) {
			continue // no volume, or one that is just being removed
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// Get returns one volume. NotFound if there is none of that name.
func (s *Store) Get(name string) (Volume, error) {
	if err := validate(name); err != nil {
		return Volume{}, err
	}
	path := filepath.Join(s.cfg.Dir, name, dataDir)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Volume{}, errkind.New(errkind.NotFound, "get %s: no such volume", name)
	}
	if err != nil {
		return Volume{}, errkind.New(errkind.Unavailable, "get volume %s: %w", name, err)
	}
	v := Volume{Name: name, Path: path, Created: info.ModTime()}
	data, err := os.ReadFile(filepath.Join(s.cfg.Dir, name, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return Volume{}, errkind.New(errkind.Unavailable, "get volume %s: %w", name, err)
	}
	var m meta
	if err := json.Unmarshal(data, &m); err != nil {
		return Volume{}, errkind.New(errkind.Internal, "get volume %s: read %s: %w", name, metaFile, err)
	}
	v.Labels, v.Created = m.Labels, m.Created
	return v, nil
}

// Create makes a volume. One that exists is returned as it is if the labels agree or none are asked, and is a Conflict otherwise.
func (s *Store) Create(name string, labels map[string]string) (Volume, error) {
	if err := validate(name); err != nil {
		return Volume{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.Get(name)
	if err == nil {
		if len(labels) > 0 && !maps.Equal(labels, v.Labels) {
			return Volume{}, errkind.New(errkind.Conflict, "volume %s exists already with other labels", name)
		}
		return v, nil
	}
	if !errors.Is(err, errkind.NotFound) {
		return Volume{}, err
	}
	if err := s.create(name, meta{Labels: labels, Created: time.Now().UTC()}); err != nil {
		return Volume{}, errkind.New(errkind.Unavailable, "create volume %s: %w", name, err)
	}
	return s.Get(name)
}

// create writes what is known of the volume before its data folder, which is what makes it exist.
func (s *Store) create(name string, m meta) error {
	dir := filepath.Join(s.cfg.Dir, name)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, metaFile), data, 0o600); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(dir, dataDir), 0o755)
}

// Remove removes a volume with its files. Conflict while something uses it; NotFound if it is not there, unless forced.
func (s *Store) Remove(name string, force bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.Get(name); err != nil {
		if force && errors.Is(err, errkind.NotFound) {
			return nil
		}
		return err
	}
	if users := s.cfg.Users(name); len(users) > 0 {
		return errkind.New(errkind.Conflict, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	// The rename makes the removal one step for everybody else, also if it is interrupted.
	gone := filepath.Join(s.cfg.Dir, "."+name+".removed")
	if err := mount.RemoveAll(gone); err != nil {
		return errkind.New(errkind.Unavailable, "remove volume %s: %w", name, err)
	}
	if err := os.Rename(filepath.Join(s.cfg.Dir, name), gone); err != nil {
		return errkind.New(errkind.Unavailable, "remove volume %s: %w", name, err)
	}
	if err := mount.RemoveAll(gone); err != nil {
		return errkind.New(errkind.Unavailable, "remove volume %s: %w", name, err)
	}
	return nil
}

// Prune removes the unused volumes that keep does not claim, and says which and how many bytes that freed.
func (s *Store) Prune(keep func(Volume) bool) (removed []string, freed int64, _ error) {
	list, err := s.List()
	if err != nil {
		return nil, 0, err
	}
	for _, v := range list {
		if keep(v) || len(s.cfg.Users(v.Name)) > 0 {
			continue
		}
		size := Size(v)
		err := s.Remove(v.Name, false)
		if errors.Is(err, errkind.Conflict) || errors.Is(err, errkind.NotFound) {
			continue // it came into use, or somebody was faster
		}
		if err != nil {
			return removed, freed, err
		}
		removed, freed = append(removed, v.Name), freed+size
	}
	slices.Sort(removed)
	return removed, freed, nil
}

// Size adds up the files of a volume.
func Size(v Volume) (total int64) {
	_ = filepath.WalkDir(v.Path, func(_ string, d fs.DirEntry, err error) error { // what vanishes meanwhile has no size
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

// validate holds names to docker's pattern: they are folder names here.
func validate(name string) error {
	ok := name != "" && len(name) <= 255 && !strings.Contains("_.-", name[:1])
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r))
	}
	if !ok {
		return errkind.New(errkind.Invalid, "%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed", name)
	}
	return nil
}
