package build

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/internal/atomicfile"
)

// A build changes the cache's metadata dozens of times, and would spend much of its time waiting for the disk. What the metadata says can be
// made again by building, so while builds run nobody waits. The kernel has it all, so a crash of the program loses nothing; a crash of the
// machine may tear the file. A note on the disk says while that is so. If it is of another boot, the cache begins anew.

// doubtFile is the note. It holds the boot's name.
const doubtFile = "unsynced"

// calm is how long after the last build the metadata is written out.
const calm = 10 * time.Second

// doubt holds the note while builds run.
type doubt struct {
	path, boot string
	update     func(func(*bolt.Tx) error) error // of the metadata
	log        *slog.Logger

	mu      sync.Mutex
	running int
	noted   bool
	timer   *time.Timer // until the metadata is written out
	closed  bool
}

// newDoubt takes over from an earlier life of the program, which may have left a note.
func newDoubt(dir, boot string, update func(func(*bolt.Tx) error) error, log *slog.Logger) *doubt {
	d := &doubt{path: filepath.Join(dir, doubtFile), boot: boot, update: update, log: log}
	_, err := os.Lstat(d.path)
	d.noted = err == nil
	d.settle()
	return d
}

// begin comes before a build's first change. If the note cannot be made, every change waits for the disk, as it does outside builds.
func (d *doubt) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running++
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.noted {
		return
	}
	err := atomicfile.Write(d.path, []byte(d.boot+"\n"), 0o600)
	if err == nil {
		err = d.wait(false)
	}
	if err != nil {
		d.log.Warn("builds wait for the disk", "err", err)
		return
	}
	d.noted = true
}

// end comes after a build's last change.
func (d *doubt) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running--; d.running > 0 || d.closed {
		return
	}
	if d.timer == nil {
		d.timer = time.AfterFunc(calm, d.settle)
	} else {
		d.timer.Reset(calm)
	}
}

// wait says whether changes wait for the disk. The first that does brings all earlier ones there.
func (d *doubt) wait(yes bool) error {
	return d.update(func(tx *bolt.Tx) error {
		tx.DB().NoSync = !yes // it is read when a change is committed, and there is only one at a time
		return nil
	})
}

// settle writes the metadata out and takes the note away, unless a build runs.
func (d *doubt) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running > 0 || !d.noted {
		return
	}
	err := d.wait(true)
	if err == nil {
		err = os.Remove(d.path)
	}
	if err != nil {
		d.log.Warn("the build cache was not written out", "err", err)
		return
	}
	d.noted = false
}

// close writes the metadata out; no build runs any more.
func (d *doubt) close() {
	d.mu.Lock()
	d.closed, d.running = true, 0
	if d.timer != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
	d.settle()
}

// around is begin and end for the one call of the control API that builds.
func (d *doubt) around(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if strings.HasSuffix(info.FullMethod, "/Solve") {
		d.begin()
		defer d.end()
	}
	return handle(ctx, request)
}

// torn says whether the machine crashed while the metadata in dir was not on the disk.
func torn(dir, boot string) (bool, error) {
	note, err := os.ReadFile(filepath.Join(dir, doubtFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && strings.TrimSpace(string(note)) != boot, err
}

// flat is the label by which the cache's leases are known: what they hold is named one by one.
const flat = "containerd.io/gc.flat"

// dropLeases lets go of everything that the cache and the records of builds held.
func dropLeases(ctx context.Context, store *content.Store) error {
	for namespace, filter := range map[string][]string{content.Namespace: {`labels."` + flat + `"`}, content.Namespace + "_history": nil} {
		ctx := namespaces.WithNamespace(ctx, namespace)
		list, err := store.Leases().List(ctx, filter...)
		if err != nil {
			return err
		}
		for _, lease := range list {
			if err := store.Leases().Delete(ctx, lease); err != nil {
				return err
			}
		}
	}
	return nil
}
