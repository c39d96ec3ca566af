// Package copyup fills an empty volume with the folder of the image that it is mounted over, as Docker does.
//
// It mounts nothing and knows no containers. Others may have the volume mounted, and write to it, while it is filled: so every step is
// taken from an open folder to one of its entries, and no name is looked up twice. Filling is one step for whoever comes after a
// crash: all is copied into a folder of its own first, whose name says whether it is whole, and then moved to its place. Start with Filler.
package copyup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// The folders that a volume holds while it is filled. What lies in the first may be a part and is thrown away after a crash; what
// lies in the second is whole and is moved to its place.
const (
	copying = ".cuppa-fill-copying"
	whole   = ".cuppa-fill-whole"
)

// Filler fills volumes, each by one caller at a time. The zero value is ready.
type Filler struct {
	mu   sync.Mutex
	busy map[volumeID]*turn

	// reached is called at each step, by tests that end the filling there.
	reached func(step string) error
}

// volumeID tells volumes apart whatever path they have.
type volumeID struct{ device, inode uint64 }

// turn is who fills a volume, or waits for that.
type turn struct {
	sync.Mutex
	users int
}

// lock waits until nobody else fills the volume. Two containers that share a volume may well start at once.
func (f *Filler) lock(id volumeID) (unlock func()) {
	f.mu.Lock()
	if f.busy == nil {
		f.busy = map[volumeID]*turn{}
	}
	t := f.busy[id]
	if t == nil {
		t = &turn{}
		f.busy[id] = t
	}
	t.users++
	f.mu.Unlock()
	t.Lock()
	return func() {
		t.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(f.busy, id)
		}
	}
}

func (f *Filler) step(name string) error {
	if f.reached == nil {
		return nil
	}
	return f.reached(name)
}

// Fill copies the folder from of the image at root into the volume to, with owners, modes, times and attributes, if the volume is
// empty. An image that has no such folder leaves it empty. What an earlier Fill had begun is finished, or done again.
func (f *Filler) Fill(root, from, to string) error {
	fd, err := unix.Open(to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: to, Err: err}
	}
	volume := os.NewFile(uintptr(fd), to)
	defer volume.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: to, Err: err}
	}
	defer f.lock(volumeID{st.Dev, st.Ino})()
	done, err := f.resume(volume)
	if done || err != nil {
		return err
	}
	image, err := openImage(root, from)
	if image == nil || err != nil {
		return err
	}
	defer image.Close()
	if err := f.copyWhole(image, volume); err != nil {
		return err
	}
	return f.settle(volume)
}

// openImage opens the folder of the image, or returns nil if it has none of that name.
func openImage(root, from string) (*os.File, error) {
	dir, err := mount.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	image, err := dir.OpenDir(from, mount.AsChroot)
	if errors.Is(err, errkind.NotFound) || errors.Is(err, errkind.Invalid) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return image, err
}

// resume looks at what is in the volume: it finishes what an earlier Fill had copied whole, removes what it had copied in part, and
// tells whether there is nothing more to do.
func (f *Filler) resume(volume *os.File) (done bool, err error) {
	names, err := volume.Readdirnames(-1)
	if err != nil {
		return false, &os.PathError{Op: "read", Path: volume.Name(), Err: err}
	}
	for _, name := range names {
		switch {
		case name == whole && isFolder(volume, name):
			return true, f.settle(volume)
		case name != copying:
			done = true // somebody's files are there
		}
	}
	if err := mount.RemoveAll(filepath.Join(volume.Name(), copying)); err != nil {
		return false, fmt.Errorf("remove what an interrupted start had copied: %w", err)
	}
	return done, nil
}

func isFolder(parent *os.File, name string) bool {
	dir, err := mount.Enter(parent, name)
	if err != nil {
		return false
	}
	_ = dir.Close()
	return true
}

// copyWhole copies the image's folder to where it is known as whole.
func (f *Filler) copyWhole(image, volume *os.File) error {
	err := f.copyTo(image, volume)
	if err == nil {
		err = f.step("renaming")
	}
	if err == nil {
		if err = unix.Renameat(int(volume.Fd()), copying, int(volume.Fd()), whole); err != nil {
			err = &os.PathError{Op: "rename", Path: filepath.Join(volume.Name(), copying), Err: err}
		}
	}
	if err != nil && !errors.Is(err, errStopped) {
		return errors.Join(err, mount.RemoveAll(filepath.Join(volume.Name(), copying)))
	}
	return err
}

// errStopped is how a test says that the program ends here.
var errStopped = errors.New("stopped")

func (f *Filler) copyTo(image, volume *os.File) error {
	if err := unix.Mkdirat(int(volume.Fd()), copying, 0o700); err != nil {
		return &os.PathError{Op: "make folder", Path: filepath.Join(volume.Name(), copying), Err: err}
	}
	stage, err := mount.Enter(volume, copying)
	if err != nil {
		return err
	}
	defer stage.Close()
	c := copier{stage: stage, step: f.step, links: map[volumeID]string{}}
	if err := c.folder(image, stage, ""); err != nil {
		return err
	}
	if c.files == 0 {
		return nil
	}
	// The new name must not outlive a power cut that the contents do not.
	if err := unix.Syncfs(int(stage.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: volume.Name(), Err: err}
	}
	return nil
}

// settle moves what was copied to its place. A name that somebody else has taken meanwhile stays theirs.
func (f *Filler) settle(volume *os.File) error {
	stage, err := mount.Enter(volume, whole)
	if err != nil {
		return fmt.Errorf("open what was copied: %w", err)
	}
	defer stage.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(stage.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: stage.Name(), Err: err}
	}
	names, err := stage.Readdirnames(-1)
	if err != nil {
		return &os.PathError{Op: "read", Path: stage.Name(), Err: err}
	}
	for _, name := range names {
		if err := f.step("moving " + name); err != nil {
			return err
		}
		if err := move(stage, volume, name); err != nil {
			return err
		}
	}
	if err := f.step("dressing"); err != nil {
		return err
	}
	if err := dress(stage, volume, &st); err != nil {
		return err
	}
	if err := f.step("ending"); err != nil {
		return err
	}
	return mount.RemoveAll(filepath.Join(volume.Name(), whole))
}

// move gives an entry of one folder to another, unless it has one of that name.
func move(from, to *os.File, name string) error {
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // the file system cannot promise that; then it is a look and a step
		var st unix.Stat_t
		if unix.Fstatat(int(to.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return nil
		}
		err = unix.Renameat(int(from.Fd()), name, int(to.Fd()), name)
	}
	if err == unix.EEXIST || err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "move", Path: filepath.Join(from.Name(), name), Err: err}
	}
	return nil
}
