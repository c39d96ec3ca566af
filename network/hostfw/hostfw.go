// Package hostfw lets pods' packets pass a firewall of the host that drops what it does not know.
//
// It is no firewall and enforces no policy. Other engines set the policy of the host's forward chain to drop (the chain that iptables
// keeps as table filter, chain FORWARD); since every base chain can drop, no table of our own can undo that, only a rule in that chain. Start with Keeper.
package hostfw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/network/netns"
)

// lookEvery is how often the host's firewall is looked at: other programs change it at any time.
const lookEvery = 5 * time.Second

// Config says whose packets are to pass.
type Config struct {
	// NS is the node's network namespace; nil is the process's own.
	NS *netns.NS
	// Ranges are the cluster's pod ranges.
	Ranges []netip.Prefix
	// Name marks our rules.
	Name string
	Log  *slog.Logger
}

// Keeper keeps the rules in place.
type Keeper struct {
	cfg    Config
	warned map[string]bool
}

// New returns a keeper that has done nothing yet.
func New(cfg Config) *Keeper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, warned: map[string]bool{}}
}

// Run looks at the host's firewall at once and then every few seconds, until ctx ends. The rules stay.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		if err := k.Allow(ctx); err != nil && ctx.Err() == nil {
			k.once("err", "let pods pass the host's firewall", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		}
	}
}

// once logs a thing the first time only.
func (k *Keeper) once(key, msg string, args ...any) {
	if !k.warned[key] {
		k.warned[key] = true
		k.cfg.Log.Error(msg, args...)
	}
}

// Allow adds the rules wherever the policy is to drop and they are missing.
func (k *Keeper) Allow(ctx context.Context) error {
	c, err := k.open()
	if err != nil {
		return err
	}
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list the host's chains: %w", err)
	}
	for _, ch := range chains {
		if !drops(ch) {
			continue
		}
		if !isIPTables(ch) {
			k.once(ch.Table.Name+"/"+ch.Name, "the host's firewall drops forwarded packets: allow those of the pods in it",
				"table", ch.Table.Name, "chain", ch.Name, "ranges", fmt.Sprint(k.cfg.Ranges))
			continue
		}
		if err := k.allowIn(c, ch); err != nil {
			return err
		}
	}
	return k.legacy(ctx, "-I")
}

func (k *Keeper) open() (*nftables.Conn, error) {
	var opts []nftables.ConnOption
	if k.cfg.NS != nil {
		opts = append(opts, nftables.WithNetNSFd(k.cfg.NS.FD()))
	}
	c, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// drops says whether a chain decides on forwarded packets and drops by default.
func drops(ch *nftables.Chain) bool {
	return ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
}

func isIPTables(ch *nftables.Chain) bool {
	return ch.Table.Name == "filter" && ch.Name == "FORWARD" &&
		(ch.Table.Family == nftables.TableFamilyIPv4 || ch.Table.Family == nftables.TableFamilyIPv6)
}

func (k *Keeper) allowIn(c *nftables.Conn, ch *nftables.Chain) error {
	rules, err := c.GetRules(ch.Table, ch)
	if err != nil {
		return fmt.Errorf("list rules of the host's forward chain: %w", err)
	}
	changed := false
	for _, want := range k.rules(ch) {
		if !slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return bytes.Equal(r.UserData, want.UserData) }) {
			c.InsertRule(want)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add rules to the host's forward chain: %w", err)
	}
	return nil
}

// rules accept packets from and to the pods. They consist of what iptables itself would write, so that it can list them.
func (k *Keeper) rules(ch *nftables.Chain) []*nftables.Rule {
	var out []*nftables.Rule
	for _, r := range k.cfg.Ranges {
		if r.Addr().Is4() != (ch.Table.Family == nftables.TableFamilyIPv4) {
			continue
		}
		for _, dir := range []struct {
			name   string
			offset uint32
		}{{"from", srcOffset(r)}, {"to", srcOffset(r) + uint32(r.Addr().BitLen()/8)}} {
			size := uint32(r.Addr().BitLen() / 8)
			out = append(out, &nftables.Rule{
				Table: ch.Table, Chain: ch, UserData: k.mark(dir.name, r),
				Exprs: []expr.Any{
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: dir.offset, Len: size},
					&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask(r), Xor: make([]byte, size)},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: r.Masked().Addr().AsSlice()},
					&expr.Counter{},
					&expr.Verdict{Kind: expr.VerdictAccept},
				},
			})
		}
	}
	return out
}

func srcOffset(r netip.Prefix) uint32 {
	if r.Addr().Is4() {
		return 12
	}
	return 8
}

func mask(r netip.Prefix) []byte {
	m := make([]byte, r.Addr().BitLen()/8)
	for i := range r.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

func (k *Keeper) mark(dir string, r netip.Prefix) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("%s: %s pods %s", k.cfg.Name, dir, r))
}

// legacy does the same through the iptables command where the kernel's older tables are in use.
func (k *Keeper) legacy(ctx context.Context, action string) error {
	return k.cfg.NS.Do(func() error {
		var errs []error
		for _, r := range k.cfg.Ranges {
			names, command := "/proc/thread-self/net/ip_tables_names", "iptables-legacy"
			if !r.Addr().Is4() {
				names, command = "/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy"
			}
			tables, err := os.ReadFile(names)
			if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
				continue
			}
			path, err := exec.LookPath(command)
			if err != nil {
				k.once(command, "the host uses the older packet filter, and the command to change it is missing", "command", command)
				continue
			}
			for _, side := range []string{"-s", "-d"} {
				rule := []string{"FORWARD", side, r.String(), "-m", "comment", "--comment", k.cfg.Name, "-j", "ACCEPT"}
				there := exec.CommandContext(ctx, path, append([]string{"-w", "-C"}, rule...)...).Run() == nil
				if there == (action == "-I") {
					continue
				}
				if out, err := exec.CommandContext(ctx, path, append([]string{"-w", action}, rule...)...).CombinedOutput(); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out)))
				}
			}
		}
		return errors.Join(errs...)
	})
}

// Cleanup removes our rules.
func (k *Keeper) Cleanup(ctx context.Context) error {
	c, err := k.open()
	if err != nil {
		return err
	}
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list the host's chains: %w", err)
	}
	for _, ch := range chains {
		if !isIPTables(ch) {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return fmt.Errorf("list rules of the host's forward chain: %w", err)
		}
		for _, ours := range k.rules(ch) {
			for _, r := range rules {
				if bytes.Equal(r.UserData, ours.UserData) {
					if err := c.DelRule(r); err != nil {
						return err
					}
				}
			}
		}
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rules from the host's forward chain: %w", err)
	}
	return k.legacy(ctx, "-D")
}
