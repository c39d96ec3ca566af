package nodeipam

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestDecide(t *testing.T) {
	pods := netip.MustParsePrefix("10.42.0.0/22")
	var taken []netip.Prefix
	for _, want := range []string{"10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"} {
		got, err := Decide(pods, taken)
		if err != nil || got.String() != want {
			t.Fatalf("with %v taken: got %v %v, want %s", taken, got, err, want)
		}
		taken = append(taken, got)
	}
	if got, err := Decide(pods, taken); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("all taken: got %v %v, want Exhausted", got, err)
	}
	if got, _ := Decide(pods, append(taken[:1:1], taken[2:]...)); got.String() != "10.42.1.0/24" {
		t.Errorf("a freed block: got %v, want 10.42.1.0/24", got)
	}
}
