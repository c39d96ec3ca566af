package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// Hash identifies everything about a service that a running container cannot change: as long as it stays the same, `up` leaves the
// containers alone. It covers the content of the configs and secrets the service mounts, and it is a form of our own, so that a newer
// library does not recreate every container.
func (s Service) Hash(p *Project) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	// Encoding plain data cannot fail.
	_ = enc.Encode(s)
	for _, ref := range s.Configs {
		_ = enc.Encode(p.Configs[ref.Source])
	}
	for _, ref := range s.Secrets {
		_ = enc.Encode(p.Secrets[ref.Source])
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Levels sorts the services so that each level depends on earlier ones only. Dependencies on services that are not named are ignored. The
// project has no cycles: load has seen to that.
func (p *Project) Levels(names []string) [][]string {
	level := map[string]int{}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var depth func(name string, seen int) int
	depth = func(name string, seen int) int {
		if l, ok := level[name]; ok {
			return l
		}
		l := 0
		if s, ok := p.Service(name); ok && seen <= len(p.Services) {
			for _, d := range s.DependsOn {
				if wanted[d.Service] {
					l = max(l, depth(d.Service, seen+1)+1)
				}
			}
		}
		level[name] = l
		return l
	}
	byLevel := map[int][]string{}
	for _, name := range names {
		l := depth(name, 0)
		byLevel[l] = append(byLevel[l], name)
	}
	var out [][]string
	for _, l := range slices.Sorted(maps.Keys(byLevel)) {
		slices.Sort(byLevel[l])
		out = append(out, byLevel[l])
	}
	return out
}

// WithDependencies returns the named services and all they depend on, sorted. No names means all services.
func (p *Project) WithDependencies(names []string) []string {
	if len(names) == 0 {
		return p.Names()
	}
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		s, ok := p.Service(name)
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		for _, d := range s.DependsOn {
			add(d.Service)
		}
	}
	for _, name := range names {
		add(name)
	}
	return slices.Sorted(maps.Keys(seen))
}
