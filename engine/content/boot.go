package content

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// Blobs and names are on the disk when a call that stored them returns. The files of layers are not: waiting for them would take longer
// than unpacking, and hold up everybody else who does. They can be unpacked again, so it is enough to know which ones a crash of the machine
// may have torn: those committed since the last time everything was written out.

// The files that remember this. boot names the boot in which the store was last opened; unsynced exists while layers may not be on the disk.
const (
	bootFile     = "boot"
	unsyncedFile = "unsynced"
)

// unsynced is the content of its file.
type unsynced struct {
	Boot  string    `json:"boot"`
	Since time.Time `json:"since"` // layers committed after this are in doubt
}

// journal notes that layers were committed, until they have been written out.
type journal struct {
	dir  string
	boot string

	changed chan struct{} // holds a token when there was a commit

	mu      sync.Mutex
	noted   bool
	commits int // since the start; tells whether there were more during a sync
}

func newJournal(dir string) *journal {
	return &journal{dir: dir, boot: bootID(), changed: make(chan struct{}, 1)}
}

func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

// note must come before a commit.
func (j *journal) note() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.commits++
	select {
	case j.changed <- struct{}{}:
	default:
	}
	if j.noted {
		return nil
	}
	path := filepath.Join(j.dir, unsyncedFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		// A second of margin: the layer's own time is taken by somebody else.
		if err := writeDurable(path, unsynced{Boot: j.boot, Since: time.Now().Add(-time.Second)}); err != nil {
			return err
		}
	}
	j.noted = true
	return nil
}

// sync writes everything out that was committed so far, and forgets the note if nothing came meanwhile. It takes as long as the disk does.
func (j *journal) sync(layers string) error {
	j.mu.Lock()
	before, noted := j.commits, j.noted
	j.mu.Unlock()
	if !noted {
		return nil
	}
	dir, err := os.Open(layers)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.commits != before {
		return nil // the next round
	}
	if err := os.Remove(filepath.Join(j.dir, unsyncedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	j.noted = false
	return nil
}

// WriteOut brings all layers to the disk and returns when they are there.
func (s *Store) WriteOut() error {
	return Wrap(s.journal.sync(s.layers.Dir), "write layers out")
}

// writeOut does so a while after the last change: by then the kernel has written most of it by itself, and nobody is held up.
func (s *Store) writeOut(ctx context.Context) error {
	const calm = time.Minute
	timer := time.NewTimer(calm) // the first time for what an earlier life of this program left
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.journal.changed:
			timer.Reset(calm)
		case <-timer.C:
			if err := s.WriteOut(); err != nil {
				s.log.Error("layers were not written out", "err", err)
			}
		}
	}
}

// writeDurable writes a small file so that it is on the disk afterwards.
func writeDurable(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// noting is a layer store that notes its commits.
type noting struct {
	snapshots.Snapshotter
	journal *journal
}

func (n noting) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := n.journal.note(); err != nil {
		return err
	}
	return n.Snapshotter.Commit(ctx, name, key, opts...)
}

// Cleanup implements snapshots.Cleaner, which the collector asks for.
func (n noting) Cleanup(ctx context.Context) error {
	if cleaner, ok := n.Snapshotter.(snapshots.Cleaner); ok {
		return cleaner.Cleanup(ctx)
	}
	return nil
}

// afterBoot makes the store right again when the machine was started anew since it was last open: no container lives any more, so their
// roots go; and if it was not shut down in order, so do the layers that may be torn, and all leases. It says whether layers went.
func (s *Store) afterBoot(ctx context.Context) (torn bool, _ error) {
	var last string
	if err := readJSON(filepath.Join(s.dir, bootFile), &last); err != nil {
		return false, err
	}
	var doubt unsynced
	if err := readJSON(filepath.Join(s.dir, unsyncedFile), &doubt); err != nil {
		return false, err
	}
	boot := s.journal.boot
	if last != "" && last != boot {
		torn = doubt.Boot != "" && doubt.Boot != boot
		if err := s.dropLayers(ctx, func(info snapshots.Info) bool {
			return snapshot.IsRoot(info) || torn && (info.Kind != snapshots.KindCommitted || info.Created.After(doubt.Since))
		}); err != nil {
			return torn, err
		}
	}
	if torn {
		s.log.Warn("the machine stopped while layers were being written: they will be unpacked again", "since", doubt.Since)
		list, err := s.Leases().List(ctx)
		if err != nil {
			return torn, err
		}
		for _, lease := range list {
			if err := s.Leases().Delete(ctx, lease); err != nil {
				return torn, err
			}
		}
		if err := os.Remove(filepath.Join(s.dir, unsyncedFile)); err != nil {
			return torn, err
		}
	}
	if last == boot {
		return torn, nil
	}
	return torn, writeDurable(filepath.Join(s.dir, bootFile), boot)
}

// dropLayers removes the layers that match, those above them first.
func (s *Store) dropLayers(ctx context.Context, match func(snapshots.Info) bool) error {
	children := map[string][]string{}
	var doomed []string
	err := s.Layers().Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		children[info.Parent] = append(children[info.Parent], info.Name)
		if match(info) {
			doomed = append(doomed, info.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	var drop func(name string) error
	drop = func(name string) error {
		if gone[name] {
			return nil
		}
		gone[name] = true
		for _, child := range children[name] {
			if err := drop(child); err != nil {
				return err
			}
		}
		if err := s.Layers().Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	}
	for _, name := range doomed {
		if err := drop(name); err != nil {
			return err
		}
	}
	return nil
}

// readJSON reads a file that need not be there.
func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return damaged(path, filepath.Dir(path), err)
	}
	return nil
}
