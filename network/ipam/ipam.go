// Package ipam hands out pod addresses from a node's ranges and remembers them on disk.
//
// It is not a network configurator: it touches no kernel state. An allocation is keyed by the sandbox's id and idempotent, so a
// crash between the allocation and its use loses nothing. Start with Pool.Allocate; ranges.go chooses default ranges.
package ipam

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// maxRemembered bounds how many released addresses a range remembers before it reuses the oldest.
const maxRemembered = 1024

// Config says where the pool lives and what it hands out.
type Config struct {
	// Path is the file that remembers allocations. Its folder is made if missing.
	Path string
	// Prefixes are the node's ranges: one IPv4, one IPv6, or both. Every pod gets one address of each.
	Prefixes []netip.Prefix
	// Reserved addresses are never handed out, besides each range's network, first (the node's own) and IPv4 broadcast address.
	Reserved []netip.Addr
}

// Pool is the node's addresses. Its methods may be called from several goroutines.
type Pool struct {
	cfg Config

	mu    sync.Mutex
	state state
}

// state is the file's content. Addresses that were used once are reused oldest first, and only after all that were never used
// (or after maxRemembered of them): a packet still under way to a pod that has gone must not meet a new one.
type state struct {
	Held     map[string][]netip.Addr `json:"held"`
	Released []netip.Addr            `json:"released,omitempty"`
	Next     []netip.Addr            `json:"next"`
}

// Open reads the pool's file. A damaged file is moved aside and the pool starts empty, because the addresses in use are also
// known to whoever holds the pods (see Pool.Hold).
func Open(cfg Config) (*Pool, error) {
	if len(cfg.Prefixes) == 0 {
		return nil, errkind.New(errkind.Invalid, "open address pool: no range given")
	}
	for _, p := range cfg.Prefixes {
		if err := checkPrefix(p); err != nil {
			return nil, fmt.Errorf("open address pool: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o755); err != nil {
		return nil, fmt.Errorf("open address pool: %w", err)
	}
	p := &Pool{cfg: cfg, state: state{Held: map[string][]netip.Addr{}}}
	data, err := os.ReadFile(cfg.Path)
	switch {
	case os.IsNotExist(err):
	case err != nil:
		return nil, fmt.Errorf("open address pool: %w", err)
	default:
		var s state
		if json.Unmarshal(data, &s) != nil || s.Held == nil {
			if err := os.Rename(cfg.Path, cfg.Path+".damaged"); err != nil {
				return nil, fmt.Errorf("move damaged address pool aside: %w", err)
			}
			break
		}
		p.state = s
	}
	p.state.fit(cfg.Prefixes)
	return p, nil
}

func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errkind.New(errkind.Invalid, "range %q is not a prefix", p)
	case p.Addr() != p.Masked().Addr():
		return errkind.New(errkind.Invalid, "range %s has host bits set: write %s", p, p.Masked())
	case p.Addr().BitLen()-p.Bits() < 3:
		return errkind.New(errkind.Invalid, "range %s is too small for pods: at least 8 addresses are needed", p)
	}
	return nil
}

// fit makes the cursors match the ranges; a changed range starts anew and forgets what lay in the old one.
func (s *state) fit(prefixes []netip.Prefix) {
	old := s.Next
	s.Next = make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		s.Next[i] = NodeAddr(p).Next()
		for _, n := range old {
			if p.Contains(n) || n == lastAddr(p).Next() {
				s.Next[i] = n
			}
		}
	}
	s.Released = slices.DeleteFunc(s.Released, func(a netip.Addr) bool { return !within(prefixes, a) })
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// NodeAddr is the address of a range that the node itself holds: its first usable one.
func NodeAddr(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// lastAddr is the last address of the range that may be handed out.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	if last.Is4() {
		return last.Prev()
	}
	return last
}

// Allocate returns the addresses of id, one per range, and allocates them first if it has none. When a range is full the error is of kind
// Exhausted and nothing is allocated.
func (p *Pool) Allocate(id string) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.state.Held[id]; ok {
		return slices.Clone(held), nil
	}
	next := p.state.clone()
	addrs := make([]netip.Addr, 0, len(p.cfg.Prefixes))
	for i := range p.cfg.Prefixes {
		a, err := next.take(i, p.cfg)
		if err != nil {
			return nil, fmt.Errorf("allocate address for %s: %w", id, err)
		}
		addrs = append(addrs, a)
	}
	next.Held[id] = addrs
	if err := p.save(next); err != nil {
		return nil, fmt.Errorf("allocate address for %s: %w", id, err)
	}
	return slices.Clone(addrs), nil
}

// take removes one free address of range i from the state.
func (s *state) take(i int, cfg Config) (netip.Addr, error) {
	prefix := cfg.Prefixes[i]
	inRange := func(a netip.Addr) bool { return prefix.Contains(a) }
	remembered := 0
	for _, a := range s.Released {
		if inRange(a) {
			remembered++
		}
	}
	if remembered < maxRemembered {
		busy := s.busy(cfg.Reserved)
		for a := s.Next[i]; prefix.Contains(a) && a.Compare(lastAddr(prefix)) <= 0; a = a.Next() {
			s.Next[i] = a.Next()
			if !busy[a] {
				return a, nil
			}
		}
	}
	if at := slices.IndexFunc(s.Released, inRange); at >= 0 {
		a := s.Released[at]
		s.Released = slices.Delete(s.Released, at, at+1)
		return a, nil
	}
	return netip.Addr{}, errkind.New(errkind.Exhausted, "range %s has no free address: give the node a larger pod range or move pods away", prefix)
}

// busy is the set of addresses the cursor must step over.
func (s *state) busy(reserved []netip.Addr) map[netip.Addr]bool {
	busy := map[netip.Addr]bool{}
	for _, a := range reserved {
		busy[a] = true
	}
	for _, addrs := range s.Held {
		for _, a := range addrs {
			busy[a] = true
		}
	}
	for _, a := range s.Released {
		busy[a] = true
	}
	return busy
}

// Hold records that id has these addresses, for pods found in the kernel after the file was lost. Addresses held by another
// id give an error of kind Conflict.
func (p *Pool) Hold(id string, addrs []netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.state.Held[id], addrs) {
		return nil
	}
	for other, held := range p.state.Held {
		for _, a := range held {
			if other != id && slices.Contains(addrs, a) {
				return errkind.New(errkind.Conflict, "hold address %s for %s: %s has it", a, id, other)
			}
		}
	}
	next := p.state.clone()
	next.Held[id] = slices.Clone(addrs)
	next.Released = slices.DeleteFunc(next.Released, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	return p.save(next)
}

// Release gives the addresses of id back. An id without addresses is no error.
func (p *Pool) Release(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs, ok := p.state.Held[id]
	if !ok {
		return nil
	}
	next := p.state.clone()
	delete(next.Held, id)
	for _, a := range addrs {
		if within(p.cfg.Prefixes, a) {
			next.Released = append(next.Released, a)
		}
	}
	if err := p.save(next); err != nil {
		return fmt.Errorf("release address of %s: %w", id, err)
	}
	return nil
}

// Held returns all allocations by id.
func (p *Pool) Held() map[string][]netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.clone().Held
}

func (s state) clone() state {
	return state{Held: maps.Clone(s.Held), Released: slices.Clone(s.Released), Next: slices.Clone(s.Next)}
}

// save writes the new state by rename and only then makes it the pool's. It does not wait for the disk: after a power cut the
// pods are gone too.
func (p *Pool) save(next state) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	tmp := p.cfg.Path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.cfg.Path); err != nil {
		return err
	}
	p.state = next
	return nil
}
