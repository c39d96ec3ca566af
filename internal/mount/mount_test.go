package mount

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sampleTable = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:5 / /var/lib/a\040b rw,nosuid shared:7 master:2 - tmpfs tmp\134fs rw,size=4k
31 30 254:0 /srv/x /var/lib/a\040b/in ro - ext4 /dev/root rw
32 31 0:6 / /var/lib/a\040b/in rw propagate_from:3 unbindable - tmpfs  rw
40 22 0:7 / /var/lib/a\040bc rw - tmpfs none rw
`

func TestParse(t *testing.T) {
	got, err := Parse(sampleTable)
	if err != nil {
		t.Fatal(err)
	}
	want := Point{ID: 30, Parent: 22, Device: "0:5", Root: "/", Path: "/var/lib/a b", Options: "rw,nosuid", Peers: "shared:7 master:2",
		Type: "tmpfs", Source: `tmp\fs`, Super: "rw,size=4k"}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[2].Root != "/srv/x" || got[3].Source != "" || got[3].Peers != "propagate_from:3 unbindable" {
		t.Errorf("got %+v", got[2:4])
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"x", "1 2 3 4 5 6 7 8", "a 1 0:1 / / rw - t s o", "1 b 0:1 / / rw - t s o", "1 1 0:1 / / rw - t s"} {
		if got, err := Parse(line); err == nil {
			t.Errorf("%q was taken for %+v", line, got)
		}
	}
}

// TestBelow holds that mounts come before those that they sit on, stacked ones too, and that a name which only begins alike is no match.
func TestBelow(t *testing.T) {
	table, err := Parse(sampleTable)
	if err != nil {
		t.Fatal(err)
	}
	ids := func(dir string) (out []int) {
		for _, p := range below(table, dir) {
			out = append(out, p.ID)
		}
		return out
	}
	for dir, want := range map[string][]int{
		"/var/lib/a b":    {32, 31, 30},
		"/var/lib/a b/in": {32, 31},
		"/var/lib":        {32, 31, 30, 40},
		"/":               {32, 31, 30, 40, 22},
		"/none":           nil,
	} {
		if diff := cmp.Diff(want, ids(dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
}

// FuzzParse holds that no table makes the parser panic or lose a line, and that a path never keeps an escape that the kernel makes.
func FuzzParse(f *testing.F) {
	f.Add(sampleTable)
	f.Add("1 1 0:1 / /\\0 rw - t s o\n")
	f.Add("\\")
	f.Fuzz(func(t *testing.T, table string) {
		points, err := Parse(table)
		if err != nil {
			return
		}
		lines := 0
		for line := range strings.Lines(table) {
			if strings.TrimRight(line, "\n") != "" {
				lines++
			}
		}
		if len(points) != lines {
			t.Errorf("%d points of %d lines", len(points), lines)
		}
		for _, dir := range []string{"/", "/var"} {
			for i, p := range below(points, dir) {
				if p.Path != dir && !strings.HasPrefix(p.Path, strings.TrimSuffix(dir, "/")+"/") {
					t.Errorf("row %d: %q is not below %q", i, p.Path, dir)
				}
			}
		}
	})
}
