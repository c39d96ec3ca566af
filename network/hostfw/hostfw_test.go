package hostfw

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/nftables"

	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

func conn(t *testing.T, ns *netns.NS) *nftables.Conn {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forward makes the chain that iptables would make, with a policy.
func forward(t *testing.T, ns *netns.NS, policy nftables.ChainPolicy) *nftables.Chain {
	t.Helper()
	c := conn(t, ns)
	table := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	ch := c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return ch
}

func count(t *testing.T, ns *netns.NS, ch *nftables.Chain) int {
	t.Helper()
	rules, err := conn(t, ns).GetRules(ch.Table, ch)
	if err != nil {
		t.Fatal(err)
	}
	return len(rules)
}

func TestRulesComeAndGo(t *testing.T) {
	ns := netnstest.New(t)
	ch := forward(t, ns, nftables.ChainPolicyDrop)
	k := New(Config{NS: ns, Name: "cuppa-test", Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00:42::/56")}})
	for range 2 {
		if err := k.Allow(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, ns, ch); n != 2 {
			t.Errorf("got %d rules, want 2", n)
		}
	}
	if err := k.Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, ns, ch); n != 0 {
		t.Errorf("%d rules left", n)
	}
	if err := k.Cleanup(context.Background()); err != nil {
		t.Errorf("second clean-up: %v", err)
	}
}

func TestNothingToDo(t *testing.T) {
	ns := netnstest.New(t)
	k := New(Config{NS: ns, Name: "cuppa-test", Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}})
	if err := k.Allow(context.Background()); err != nil {
		t.Fatal(err)
	}
	tables, err := conn(t, ns).ListTables()
	if err != nil || len(tables) > 0 {
		t.Errorf("tables made on a host without a firewall: %v, %v", tables, err)
	}
	ch := forward(t, ns, nftables.ChainPolicyAccept)
	if err := k.Allow(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, ns, ch); n != 0 {
		t.Errorf("%d rules added to a chain that accepts", n)
	}
}

func TestPacketsPass(t *testing.T) {
	ns := netnstest.New(t)
	forward(t, ns, nftables.ChainPolicyDrop)
	a, b := pods(t, ns)
	netnstest.ServeName(t, b, "10.42.0.3:80", "b")
	if _, err := netnstest.Dial(a, "tcp", "10.42.0.3:80", 200e6); err == nil {
		t.Fatal("the host's firewall does not drop, so this test shows nothing")
	}
	k := New(Config{NS: ns, Name: "cuppa-test", Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}})
	if err := k.Allow(context.Background()); err != nil {
		t.Fatal(err)
	}
	if name, _, err := netnstest.Ask(a, "10.42.0.3:80"); err != nil || name != "b" {
		t.Errorf("got %q, %v", name, err)
	}
}
