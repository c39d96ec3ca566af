package load

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File string
	Line int    // 0: not known
	Path string // services.web.ports
	Text string
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.Text
}

// Problems is everything found wrong, one line each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Is makes problems errors of the kind Invalid.
func (p Problems) Is(target error) bool { return target == errkind.Invalid }

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(p)
}
