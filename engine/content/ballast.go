package content

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// On a full disk even removing fails, since the databases write before they free. So the store holds some room back as a file without
// meaning. It is given up when work ends on a full disk, and taken again after the next collection.
const ballast = 4 << 20

func (s *Store) ballastPath() string { return filepath.Join(s.dir, "reserve") }

// dropBallast gives the reserve up if the disk is full.
func (s *Store) dropBallast() {
	if room, err := snapshot.Room(s.dir); err != nil || room.Free > ballast {
		return
	}
	if err := os.Remove(s.ballastPath()); err == nil {
		s.log.Warn("the disk is full", "dir", s.dir)
	}
}

// takeBallast takes the reserve, if it is not there and there is plenty of room.
func (s *Store) takeBallast() {
	if room, err := snapshot.Room(s.dir); err != nil || room.Free < 8*ballast {
		return
	}
	f, err := os.OpenFile(s.ballastPath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	// File systems that cannot allocate ahead go without the reserve.
	_ = unix.Fallocate(int(f.Fd()), 0, 0, ballast)
}
