package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/ipam"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/nft"
)

// Config describes one node's Service proxy.
type Config struct {
	// NS is the node's network namespace; nil is the process's own.
	NS *netns.NS
	// Table is the name of the tables (one per family). Default "cuppa".
	Table string
	// PodCIDRs are the node's own ranges, ClusterCIDRs those of all nodes (default: PodCIDRs). Families without a pod range get no table.
	PodCIDRs, ClusterCIDRs []netip.Prefix
	ServiceCIDRs           []netip.Prefix
	// DNS are the addresses that the node's own DNS server answers on.
	DNS []netip.Addr
	Log *slog.Logger
}

// Proxy keeps the kernel's tables in step with Services. Its methods may be called from several goroutines.
type Proxy struct {
	cfg  Config
	conn *nft.Conn
	work chan cleaning

	mu     sync.Mutex
	states []*state
	loaded bool // the kernel holds what states say
}

// New opens the proxy. Tables of an earlier run go on working untouched until the first Sync replaces them. The error says what is missing if
// the kernel has no nftables, or the process may not use it.
func New(cfg Config) (*Proxy, error) {
	if cfg.Table == "" {
		cfg.Table = "cuppa"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.ClusterCIDRs) == 0 {
		cfg.ClusterCIDRs = cfg.PodCIDRs
	}
	if len(cfg.PodCIDRs) == 0 {
		return nil, errkind.New(errkind.Invalid, "open Service proxy: no pod range given")
	}
	conn, err := nft.Open(cfg.NS)
	if err != nil {
		return nil, fmt.Errorf("open Service proxy: %w", err)
	}
	p := &Proxy{cfg: cfg, conn: conn, work: make(chan cleaning, 64)}
	for _, l := range layouts(cfg) {
		if err := conn.Check(l.table()); err != nil {
			conn.Close()
			return nil, fmt.Errorf("open Service proxy: the kernel refuses the rules: %w", err)
		}
		p.states = append(p.states, newState(l))
	}
	return p, nil
}

func layouts(cfg Config) []layout {
	var all []layout
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		l := layout{family: f, name: cfg.Table}
		mine := func(ps []netip.Prefix) []netip.Prefix {
			return slices.DeleteFunc(slices.Clone(ps), func(p netip.Prefix) bool { return !l.has(p.Addr()) })
		}
		l.pods, l.cluster, l.services = mine(cfg.PodCIDRs), mine(cfg.ClusterCIDRs), mine(cfg.ServiceCIDRs)
		l.dns = slices.DeleteFunc(slices.Clone(cfg.DNS), func(a netip.Addr) bool { return !l.has(a) })
		if len(l.pods) > 0 {
			l.node = ipam.NodeAddr(l.pods[0])
			all = append(all, l)
		}
	}
	return all
}

// Close gives up the socket. The tables stay and go on working.
func (p *Proxy) Close() error { return p.conn.Close() }

// Sync carries changed Services (nil: gone) into the kernel, each family in one transaction. The first Sync replaces
// what an earlier run left, and so must bring all Services. After an error the next Sync, with or without changes, loads everything again.
func (p *Proxy) Sync(changed map[string]*Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	reload := !p.loaded
	p.loaded = true
	for _, s := range p.states {
		plan := s.change(changed)
		err := p.load(s, plan, reload || plan.reload)
		if err != nil {
			p.loaded = false
			errs = append(errs, err)
			continue
		}
		if reload {
			p.clean(cleaning{all: map[nft.Family]map[flow]bool{s.layout.family: s.flows()}})
		} else if len(plan.gone)+len(plan.opened) > 0 {
			p.clean(cleaning{changed: map[nft.Family]flows{s.layout.family: {gone: setOf(plan.gone), opened: setOf(plan.opened)}}})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sync Services: %w", err)
	}
	return nil
}

// load carries a plan out. Whatever makes a change fail (the answer was lost, somebody flushed the tables) is mended by loading
// the whole table.
func (p *Proxy) load(s *state, plan plan, whole bool) error {
	if !whole {
		err := p.conn.Apply(s.layout.table(), plan.update)
		if err == nil {
			return nil
		}
		p.cfg.Log.Error("change of Service tables failed, loading them again", "family", s.layout.family.String(), "err", err)
	}
	t, elements, classes := s.whole()
	if err := p.conn.Replace(t, elements); err != nil {
		return err
	}
	s.loadedWhole(classes)
	return nil
}

// Dump prints the tables as they were last loaded.
func (p *Proxy) Dump() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out string
	for _, s := range p.states {
		out += dump(s)
	}
	return out
}

func dump(s *state) string {
	t, elements, _ := s.whole()
	slices.SortFunc(elements, nft.Element.Compare)
	out := t.String()
	for _, e := range elements {
		out += t.Format(e) + "\n"
	}
	return out
}

// Cleanup removes the tables: the node stops serving Services.
func (p *Proxy) Cleanup() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loaded = false
	var errs []error
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		errs = append(errs, p.conn.Delete(f, p.cfg.Table))
	}
	return errors.Join(errs...)
}

// lookEvery is how often the tables are looked for: restarting a firewall service may flush everybody's.
const lookEvery = 5 * time.Second

// Run cleans conntrack after changes until ctx ends (entries of UDP and SCTP outlive the endpoint they lead to), and loads the tables
// again if somebody removed them.
func (p *Proxy) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.work:
			p.forget(c)
		case <-look.C:
			p.Mend()
		}
	}
}

// Mend loads tables that have gone missing.
func (p *Proxy) Mend() {
	p.mu.Lock()
	gone := false
	for _, s := range p.states {
		there, err := p.conn.Exists(s.layout.family, p.cfg.Table)
		gone = gone || err == nil && !there
	}
	gone = gone && p.loaded
	if gone {
		p.loaded = false
	}
	p.mu.Unlock()
	if !gone {
		return
	}
	p.cfg.Log.Error("somebody removed the Service tables, loading them again", "table", p.cfg.Table)
	if err := p.Sync(nil); err != nil {
		p.cfg.Log.Error("load Service tables", "err", err)
	}
}
