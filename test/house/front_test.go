package house

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestFrontProgram holds the list of what the front program links, outside the standard library. Every package in it is paid for at the start of
// every command, so an addition is a decision: run with -update, look at what came, and measure `cuppa version` before and after.
func TestFrontProgram(t *testing.T) {
	out, err := exec.Command(filepath.Join("..", "..", "cmd", "cuppa", "build.sh"), "--deps").Output()
	if err != nil {
		t.Fatal(err)
	}
	var linked []string
	for line := range strings.Lines(string(out)) {
		path := strings.TrimSpace(line)
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !strings.HasPrefix(path, "vendor/") {
			linked = append(linked, path)
		}
	}
	slices.Sort(linked)
	testkit.Golden(t, "front.deps", strings.Join(linked, "\n")+"\n")
}
