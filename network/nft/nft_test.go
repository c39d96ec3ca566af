package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

func open(t *testing.T, ns *netns.NS) *Conn {
	t.Helper()
	c, err := Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func small() Table {
	return Table{
		Family: IPv4, Name: "test",
		Sets: []Set{
			{Name: "hosts", Key: []Type{Addr(IPv4), Port()}, Data: []Type{Mark()}},
			{Name: "ways", Key: []Type{Mark()}, Verdicts: true},
		},
		Chains: []Chain{{Name: "end", Rules: []Rule{{Drop()}}}},
	}
}

func host(i int) Element {
	return Element{Set: "hosts", Key: RawAddr(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})) + RawPort(80), Data: RawMark(uint32(i))}
}

// count asks another library what the kernel holds.
func count(t *testing.T, ns *netns.NS, set string) int {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.GetSetByName(&nftables.Table{Name: "test", Family: nftables.TableFamilyIPv4}, set)
	if err != nil {
		t.Fatal(err)
	}
	elements, err := c.GetSetElements(s)
	if err != nil {
		t.Fatal(err)
	}
	return len(elements)
}

func TestReplaceApplyDelete(t *testing.T) {
	ns := netnstest.New(t)
	c := open(t, ns)
	var many []Element
	for i := range 1001 { // more than one message's worth
		many = append(many, host(i))
	}
	for range 2 {
		if err := c.Replace(small(), many); err != nil {
			t.Fatal(err)
		}
		if n := count(t, ns, "hosts"); n != len(many) {
			t.Fatalf("got %d elements, want %d", n, len(many))
		}
	}
	way := Element{Set: "ways", Key: RawMark(7), Data: "new"}
	u := Update{
		Chains: []Chain{{Name: "new", Rules: []Rule{{Accept()}}}},
		Remove: many[:500], Add: []Element{way, {Set: "hosts", Key: many[0].Key, Data: RawMark(99)}},
	}
	if err := c.Apply(small(), u); err != nil {
		t.Fatal(err)
	}
	if n := count(t, ns, "hosts"); n != 502 {
		t.Errorf("got %d elements, want 502", n)
	}
	if n := count(t, ns, "ways"); n != 1 {
		t.Errorf("got %d ways, want 1", n)
	}
	if there, err := c.Exists(IPv4, "test"); err != nil || !there {
		t.Errorf("exists: %v, %v", there, err)
	}
	for range 2 {
		if err := c.Delete(IPv4, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := c.Exists(IPv4, "test"); err != nil || there {
		t.Errorf("exists after Delete: %v, %v", there, err)
	}
}

func TestAFailedChangeChangesNothing(t *testing.T) {
	ns := netnstest.New(t)
	c := open(t, ns)
	if err := c.Replace(small(), []Element{host(1)}); err != nil {
		t.Fatal(err)
	}
	err := c.Apply(small(), Update{Add: []Element{host(2)}, Remove: []Element{host(3)}})
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("removing what is not there: %v, want ENOENT", err)
	}
	want := "change table ip test: remove elements of hosts: no such file or directory"
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := count(t, ns, "hosts"); n != 1 {
		t.Errorf("got %d elements, want 1", n)
	}
	// The socket is fit for the next transaction.
	if err := c.Apply(small(), Update{Add: []Element{host(2)}}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, ns, "hosts"); n != 2 {
		t.Errorf("got %d elements, want 2", n)
	}
}

func TestCheckLoadsNothing(t *testing.T) {
	ns := netnstest.New(t)
	c := open(t, ns)
	if err := c.Check(small()); err != nil {
		t.Fatal(err)
	}
	bad := small()
	bad.Chains = append(bad.Chains, Chain{Name: "bad", Rules: []Rule{{Goto("nowhere")}}})
	if err := c.Check(bad); err == nil {
		t.Error("a rule that leads nowhere: no error")
	}
	if there, err := c.Exists(IPv4, "test"); err != nil || there {
		t.Errorf("Check left a table: %v, %v", there, err)
	}
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	for errno, kind := range map[unix.Errno]error{
		unix.EPERM: errkind.Denied, unix.EPROTONOSUPPORT: errkind.Precondition, unix.EOPNOTSUPP: errkind.Precondition, unix.ENOBUFS: errkind.Unavailable,
	} {
		if err := explain("load table", errno); !errors.Is(err, kind) {
			t.Errorf("%v: got %v, want kind %v", errno, err, kind)
		}
	}
}
