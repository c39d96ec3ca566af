package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestChoose(t *testing.T) {
	no := errors.New("unknown file system type overlay")
	for _, tc := range []struct {
		name  string
		facts facts
		want  string // driver, or what the error says
		kind  error
	}{
		{"new store", facts{}, "overlayfs", nil},
		{"no overlay", facts{overlayErr: no}, "native: overlayfs cannot be used here: unknown file system type overlay (another data directory, on ext4 or xfs, saves room and time)", nil},
		{"asked for what is not there", facts{asked: Overlay, overlayErr: no}, "overlayfs cannot be used here: unknown file system type overlay", errkind.Unavailable},
		{"asked for copies", facts{asked: Native}, "native", nil},
		{"copies stay copies", facts{hasNative: true}, "native: the layers on this disk were stored as copies", nil},
		{"both: the better one", facts{hasNative: true, hasOverlay: true}, "overlayfs", nil},
		{"layers that cannot be read any more", facts{hasOverlay: true, overlayErr: no}, "layers on this disk need it", errkind.Unavailable},
		{"unknown", facts{asked: "zfs"}, `unknown snapshot driver "zfs"`, errkind.Invalid},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			got, err := choose(tc.facts)
			if errkind.Of(err) != tc.kind {
				t.Fatalf("got %v, want kind %v", err, tc.kind)
			}
			text := got.driver
			if got.why != "" {
				text += ": " + got.why
			}
			if err != nil {
				text = err.Error()
			}
			if (err == nil && text != tc.want) || !strings.Contains(text, tc.want) {
				t.Errorf("got %q, want %q", text, tc.want)
			}
		})
	}
}

func TestRequire(t *testing.T) {
	dir := t.TempDir()
	if err := Require(dir, 0); err != nil {
		t.Skipf("this disk has no room for tests: %v", err)
	}
	room, err := Room(dir)
	if err != nil || room.Free == 0 || room.Total < room.Free {
		t.Errorf("room is %+v, %v", room, err)
	}
	err = Require(dir, int64(room.Total)+1)
	if !errors.Is(err, errkind.Exhausted) || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want Exhausted, with the folder's name", err)
	}
	if !Full(fmt.Errorf("write: %w", syscall.ENOSPC)) || Full(os.ErrNotExist) {
		t.Error("a full disk is not told from other errors")
	}
	if _, err := Room(filepath.Join(dir, "nosuch")); !errors.Is(err, errkind.Unavailable) {
		t.Errorf("room of nothing: %v", err)
	}
}
