package crilog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// parts opens every part of a log, the oldest first.
func parts(path string) ([]*os.File, error) {
	// A rotation under way renames one part after the other. So we look again afterwards, and start over if a name has come to mean
	// another part meanwhile; but a writer that rotates without a pause must not hold us for ever.
	for try := 0; ; try++ {
		out, err := openParts(path)
		if err != nil {
			return nil, err
		}
		if try < 100 && !unchanged(path, out) {
			closeAll(out)
			continue
		}
		if len(out) == 0 {
			return nil, errkind.New(errkind.NotFound, "there is no log yet at %s", path)
		}
		slices.Reverse(out)
		return out, nil
	}
}

// openParts opens what there is, the newest first.
func openParts(path string) ([]*os.File, error) {
	var out []*os.File
	for n := range lastPart(path) + 1 {
		file, err := os.Open(Part(path, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("open log: %w", err)
		}
		out = append(out, file)
	}
	return out, nil
}

// lastPart is the number of the oldest part.
func lastPart(path string) int {
	last := 0
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); ok {
			if n, err := strconv.Atoi(number); err == nil {
				last = max(last, n)
			}
		}
	}
	return last
}

// unchanged tells whether the names, without a gap, still mean the files.
func unchanged(path string, files []*os.File) bool {
	if len(files) == 0 {
		_, err := os.Stat(path)
		return err != nil
	}
	if len(files) != lastPart(path)+1 {
		return false
	}
	for n, f := range files {
		mine, err := f.Stat()
		if err != nil {
			return false
		}
		now, err := os.Stat(Part(path, n))
		if err != nil || !os.SameFile(mine, now) {
			return false
		}
	}
	return true
}
