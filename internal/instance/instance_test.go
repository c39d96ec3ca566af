package instance

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestLacking(t *testing.T) {
	if err := lacking(^uint64(0)); err != nil {
		t.Errorf("all of root's rights: %v", err)
	}
	err := lacking(^uint64(0) &^ (1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_KILL))
	if !errors.Is(err, errkind.Denied) {
		t.Fatalf("got %v, want an error of the kind denied", err)
	}
	for _, want := range []string{"lacks CAP_NET_ADMIN (to make the pods' network), CAP_KILL (to end containers):", "--no-node"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}
