package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestVolumes(t *testing.T) {
	used := map[string][]string{}
	dir := t.TempDir()
	s, err := New(Config{Dir: dir, Users: func(name string) []string { return used[name] }})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"com.docker.compose.project": "shop"}
	made, err := s.Create("shop_data", labels)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "shop_data", "_data"); made.Path != want {
		t.Errorf("path %q, want %q", made.Path, want)
	}
	if err := os.WriteFile(filepath.Join(made.Path, "f"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := s.Create("shop_data", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, again); diff != "" {
		t.Errorf("second Create (-first +second):\n%s", diff)
	}
	if _, err := s.Create("shop_data", map[string]string{"other": "x"}); !errors.Is(err, errkind.Conflict) {
		t.Errorf("Create with other labels: %v, want Conflict", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "byhand", "_data"), 0o755); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "byhand" || list[1].Labels["com.docker.compose.project"] != "shop" {
		t.Errorf("list %+v, %v", list, err)
	}
	used["shop_data"] = []string{"c1"}
	if err := s.Remove("shop_data", true); !errors.Is(err, errkind.Conflict) {
		t.Errorf("removal of a used volume: %v, want Conflict", err)
	}
	removed, _, err := s.Prune(func(Volume) bool { return false })
	if diff := cmp.Diff([]string{"byhand"}, removed); err != nil || diff != "" {
		t.Errorf("prune (-want +got): %v\n%s", err, diff)
	}
	delete(used, "shop_data")
	removed, freed, err := s.Prune(func(Volume) bool { return false })
	if diff := cmp.Diff([]string{"shop_data"}, removed); err != nil || diff != "" || freed != 5 {
		t.Errorf("prune freed %d: %v\n%s", freed, err, diff)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNamesThatAreNoVolumes(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]error{"nosuch": errkind.NotFound, "../x": errkind.Invalid, "": errkind.Invalid, "a/b": errkind.Invalid, ".hidden": errkind.Invalid} {
		if _, err := s.Get(name); !errors.Is(err, kind) {
			t.Errorf("Get(%q): %v, want %v", name, err, kind)
		}
		if err := s.Remove(name, false); !errors.Is(err, kind) {
			t.Errorf("Remove(%q): %v, want %v", name, err, kind)
		}
	}
	if err := s.Remove("nosuch", true); err != nil {
		t.Errorf("forced removal of nothing: %v", err)
	}
}
