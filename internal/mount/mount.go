// Package mount is how this program looks at mounts and works on files that somebody else may be changing at the same time.
//
// It knows the mount table, unmounts what is below a folder, removes trees without ever stepping into a mount, and opens names below a
// root that no link leads out of. It does not build root file systems and decides nothing about volumes: its callers do. Everything
// that walks holds descriptors instead of paths, so that a folder which is exchanged for a link meanwhile leads nowhere.
//
// Start with Clear, which takes a folder away, and Root, which opens things below one.
package mount

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Point is one row of the mount table.
type Point struct {
	ID, Parent int    // of the mount, and of the one that it sits on
	Device     string // major:minor
	Root       string // what of its file system is shown
	Path       string // where
	Options    string // of the mount itself
	Peers      string // how it propagates: "shared:1 master:2"; empty: not at all
	Type       string // of the file system
	Source     string
	Super      string // options of the file system
}

// Table reads the mount table of this process.
func Table() ([]Point, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return Parse(string(raw))
}

// Parse reads a mount table in the form of /proc/PID/mountinfo.
func Parse(table string) ([]Point, error) {
	var out []Point
	for line := range strings.Lines(table) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		point, err := parseLine(line)
		if err != nil {
			return nil, err
		}
		out = append(out, point)
	}
	return out, nil
}

// fixedFields is how many fields stand before the optional ones, which end with a dash.
const fixedFields = 6

func parseLine(line string) (Point, error) {
	fields := strings.Split(line, " ")
	dash := -1
	for i := fixedFields; i < len(fields); i++ {
		if fields[i] == "-" {
			dash = i
			break
		}
	}
	if dash < 0 || len(fields) < dash+4 {
		return Point{}, errkind.New(errkind.Invalid, "mount table has the line %q, which lacks fields", line)
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return Point{}, errkind.New(errkind.Invalid, "mount table has the line %q, which begins with no number", line)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Point{}, errkind.New(errkind.Invalid, "mount table has the line %q, whose second field is no number", line)
	}
	return Point{ID: id, Parent: parent, Device: fields[2], Root: unescape(fields[3]), Path: unescape(fields[4]), Options: fields[5],
		Peers: strings.Join(fields[fixedFields:dash], " "), Type: unescape(fields[dash+1]), Source: unescape(fields[dash+2]),
		Super: unescape(fields[dash+3])}, nil
}

// unescape undoes the octal escapes by which the kernel keeps fields free of blanks.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// below picks the mounts at or below dir, those that sit on others first, so that each may be unmounted when its turn comes.
func below(table []Point, dir string) []Point {
	parents := make(map[int]int, len(table))
	for _, p := range table {
		parents[p.ID] = p.Parent
	}
	byDepth := map[int][]Point{}
	deepest, found := 0, 0
	for _, p := range table {
		if p.Path != dir && !strings.HasPrefix(p.Path, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		depth := depthOf(parents, p.ID)
		byDepth[depth] = append(byDepth[depth], p)
		deepest, found = max(deepest, depth), found+1
	}
	out := make([]Point, 0, found)
	for depth := deepest; depth >= 0; depth-- {
		out = append(out, byDepth[depth]...)
	}
	return out
}

// depthOf counts the mounts that a mount sits on. The bound is for tables that were read while they changed.
func depthOf(parents map[int]int, id int) int {
	depth := 0
	for parent, ok := parents[id]; ok && parent != id && depth < len(parents); parent, ok = parents[id] {
		id = parent
		depth++
	}
	return depth
}
