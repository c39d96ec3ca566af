package netns_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

func current(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestDoComesBack(t *testing.T) {
	ns := netnstest.New(t)
	own := current(t)
	failed := errors.New("failed")
	err := ns.Do(func() error {
		if current(t) == own {
			t.Error("Do did not enter the namespace")
		}
		return failed
	})
	if err != failed {
		t.Errorf("got error %v, want fn's own", err)
	}
	func() {
		defer func() { recover() }()
		ns.Do(func() error { panic("inside") })
	}()
	if current(t) != own {
		t.Error("the thread stayed in the namespace")
	}
	var none *netns.NS
	if err := none.Do(func() error { return nil }); err != nil || current(t) != own {
		t.Errorf("the nil namespace: %v", err)
	}
}

func TestCreateHoldsAndRemoveLetsGo(t *testing.T) {
	netnstest.New(t) // skips without root
	path := filepath.Join(t.TempDir(), "sub", "ns")
	ns, err := netns.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	if !netns.IsNamespace(path) {
		t.Error("the path is no namespace")
	}
	if _, err := netns.Create(path); !os.IsExist(errors.Unwrap(err)) {
		t.Errorf("second Create: %v, want that it exists", err)
	}
	again, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for range 2 {
		if err := netns.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if netns.IsNamespace(path) {
		t.Error("the namespace is still there")
	}
	if _, err := netns.Open(path); !errors.Is(err, errkind.NotFound) {
		t.Errorf("Open after Remove: %v, want kind not found", err)
	}
}
