package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func open(t *testing.T, path string, prefixes ...string) *Pool {
	t.Helper()
	cfg := Config{Path: path}
	for _, p := range prefixes {
		cfg.Prefixes = append(cfg.Prefixes, netip.MustParsePrefix(p))
	}
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allocate(t *testing.T, p *Pool, id string) string {
	t.Helper()
	addrs, err := p.Allocate(id)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(addrs)
}

func TestAllocateIsIdempotentAndSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "ipam.json")
	p := open(t, path, "10.42.0.0/24", "fd00:42::/64")
	first := allocate(t, p, "a")
	if want := "[10.42.0.2 fd00:42::2]"; first != want {
		t.Fatalf("first allocation: got %s, want %s", first, want)
	}
	if again := allocate(t, p, "a"); again != first {
		t.Errorf("second call: got %s, want %s", again, first)
	}
	second := allocate(t, p, "b")
	p = open(t, path, "10.42.0.0/24", "fd00:42::/64")
	if got := allocate(t, p, "a"); got != first {
		t.Errorf("after reopen: got %s, want %s", got, first)
	}
	if got := allocate(t, p, "b"); got != second {
		t.Errorf("after reopen: got %s, want %s", got, second)
	}
}

func TestReleasedAddressesComeLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipam.json")
	p := open(t, path, "10.42.0.0/29") // usable: .2 to .6
	for _, id := range []string{"a", "b", "c"} {
		allocate(t, p, id)
	}
	for _, id := range []string{"b", "a"} {
		if err := p.Release(id); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for i := range 4 {
		if i == 2 {
			p = open(t, path, "10.42.0.0/29")
		}
		got = append(got, allocate(t, p, fmt.Sprint("n", i)))
	}
	want := []string{"[10.42.0.5]", "[10.42.0.6]", "[10.42.0.3]", "[10.42.0.2]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of reuse (-want +got):\n%s", diff)
	}
	if _, err := p.Allocate("full"); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("full range: got error %v, want kind exhausted", err)
	}
	if err := p.Release("nobody"); err != nil {
		t.Errorf("release of an unknown id: %v", err)
	}
}

func TestHold(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "ipam.json"), "10.42.0.0/29")
	if err := p.Hold("a", []netip.Addr{netip.MustParseAddr("10.42.0.2")}); err != nil {
		t.Fatal(err)
	}
	if got, want := allocate(t, p, "b"), "[10.42.0.3]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	err := p.Hold("c", []netip.Addr{netip.MustParseAddr("10.42.0.3")})
	if !errors.Is(err, errkind.Conflict) {
		t.Errorf("hold of another's address: got %v, want kind conflict", err)
	}
}

func TestDamagedFileIsMovedAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipam.json")
	if err := os.WriteFile(path, []byte("{\"held\": {\"a\""), 0o644); err != nil {
		t.Fatal(err)
	}
	p := open(t, path, "10.42.0.0/24")
	if got, want := allocate(t, p, "a"), "[10.42.0.2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("damaged file was not kept: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, prefix := range []string{"10.42.0.5/24", "10.42.0.0/30"} {
		_, err := Open(Config{Path: filepath.Join(t.TempDir(), "x"), Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}})
		if !errors.Is(err, errkind.Invalid) {
			t.Errorf("range %s: got %v, want kind invalid", prefix, err)
		}
	}
}

func TestChoose(t *testing.T) {
	tests := []struct {
		name string
		host []string
		want string
	}{
		{"empty host", nil, "10.42.0.0/16"},
		{"default route does not count", []string{"0.0.0.0/0", "192.168.1.0/24"}, "10.42.0.0/16"},
		{"pod range taken", []string{"10.42.7.0/24"}, "10.142.0.0/16"},
		{"service range taken", []string{"10.43.0.10/32"}, "10.142.0.0/16"},
		{"all of ten taken", []string{"10.0.0.0/8"}, "172.28.0.0/16"},
		{"ten and docker's", []string{"10.0.0.0/8", "172.16.0.0/12"}, "192.168.192.0/19"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var host []netip.Prefix
			for _, h := range tt.host {
				host = append(host, netip.MustParsePrefix(h))
			}
			got, err := Choose(host)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Pods.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, h := range host {
				if h.Bits() > 0 && (h.Overlaps(got.Pods) || h.Overlaps(got.Services)) {
					t.Errorf("%v overlaps %s", got, h)
				}
			}
		})
	}
	_, err := Choose([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")})
	if !errors.Is(err, errkind.Exhausted) {
		t.Errorf("nothing free: got %v, want kind exhausted", err)
	}
}

func TestLastAddr(t *testing.T) {
	got := map[string]string{}
	for _, p := range []string{"10.42.0.0/24", "10.42.0.0/29", "fd00::/64"} {
		got[p] = lastAddr(netip.MustParsePrefix(p)).String()
	}
	want := map[string]string{"10.42.0.0/24": "10.42.0.254", "10.42.0.0/29": "10.42.0.6", "fd00::/64": "fd00::ffff:ffff:ffff:ffff"}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
