package snapshot

import (
	"errors"
	"syscall"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// reserve is what always stays free: with less, the metadata databases themselves could not grow, and even removing would fail.
const reserve = 32 << 20

// Space is the room on a file system, in bytes and inodes.
type Space struct {
	Total, Free            uint64
	TotalInodes, FreeInode uint64
}

// Used is what is taken.
func (s Space) Used() uint64 { return s.Total - s.Free }

// Room measures the file system that holds dir.
func Room(dir string) (Space, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return Space{}, errkind.New(errkind.Unavailable, "measure free room of %s: %w", dir, err)
	}
	size := uint64(st.Bsize)
	return Space{Total: st.Blocks * size, Free: st.Bavail * size, TotalInodes: st.Files, FreeInode: st.Ffree}, nil
}

// Require refuses work that needs so many more bytes below dir than there are: Exhausted, before anything is written.
func Require(dir string, need int64) error {
	room, err := Room(dir)
	if err != nil {
		return err
	}
	want := uint64(max(need, 0)) + reserve
	if room.Free >= want {
		return nil
	}
	return errkind.New(errkind.Exhausted, "no space left on device: %s has %d MiB free, %d MiB are needed (remove images with `cuppa image rm`, or make room on the disk)",
		dir, room.Free>>20, want>>20)
}

// Full says whether err comes from a disk or a quota that is full.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
