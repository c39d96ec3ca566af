package agent

import (
	"context"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/network/dns"
)

// zone is the DNS server's, here or in another process.
type zone interface {
	Update(changes map[string]*dns.Service, reset bool) error
}

func dnsSocket(cfg Config) string { return filepath.Join(cfg.RunDir, "dns.sock") }

// standalone is the DNS server's configuration, in this process or another.
func standalone(cfg Config) dns.Standalone {
	s := dns.Standalone{
		Build: cfg.DNSBuild, Domain: api.ClusterDomain, ResolvConf: cfg.ResolvConf, Upstreams: cfg.Upstreams,
		Socket: dnsSocket(cfg), File: filepath.Join(cfg.RunDir, "dns-zone.json"), LogFile: filepath.Join(cfg.RunDir, "dns.log"),
	}
	for _, ip := range cfg.DNS {
		s.Addresses = append(s.Addresses, netip.AddrPortFrom(ip, 53))
	}
	s.Ranges = append(append(s.Ranges, cfg.ClusterCIDRs...), cfg.ServiceCIDRs...)
	return s
}

// openDNS sees to it that questions are answered: by a process of its own if there is a way to start one, else by the parts it returns.
func (a *Agent) openDNS(ctx context.Context) ([]run.Func, error) {
	if a.cfg.DNSLauncher != nil && len(a.cfg.DNS) > 0 {
		err := dns.Start(ctx, standalone(a.cfg), a.cfg.DNSLauncher)
		if err == nil {
			a.remote = &dns.Remote{Socket: dnsSocket(a.cfg)}
			a.names = a.remote
			return []run.Func{a.watchDNS}, nil
		}
		a.cfg.Log.Error("start DNS server as a process of its own, answering in this one", "err", err)
	}
	c := standalone(a.cfg)
	z, err := dns.NewZone(c.Domain)
	if err != nil {
		return nil, err
	}
	a.names = z
	var parts []run.Func
	if a.cfg.RunDir != "" {
		if err := z.Load(c.File); err != nil {
			a.cfg.Log.Error("load DNS zone of an earlier run", "err", err)
		}
		parts = append(parts, func(ctx context.Context) error { return z.Keep(ctx, c.File, a.cfg.Log) })
	}
	if len(c.Addresses) == 0 {
		return parts, nil
	}
	server, err := dns.New(dns.Config{
		NS: a.cfg.NS, Zone: z, Addresses: c.Addresses, Ranges: c.Ranges, ResolvConf: c.ResolvConf, Upstreams: c.Upstreams, Log: a.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return append(parts, server.Run), nil
}

// watchDNS notices when the server's process ends, and has the loop start it again.
func (a *Agent) watchDNS(ctx context.Context) error {
	for {
		dns.Wait(ctx, dnsSocket(a.cfg))
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		a.index.touchNames()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// updateNames sends changes to the server; if its process has gone, it is started again and gets everything.
func (a *Agent) updateNames(ctx context.Context, changes func(all bool) map[string]*dns.Service, reset bool) error {
	err := a.names.Update(changes(reset), reset)
	if err == nil || a.remote == nil {
		return err
	}
	if err := dns.Start(ctx, standalone(a.cfg), a.cfg.DNSLauncher); err != nil {
		return err
	}
	return a.names.Update(changes(true), true)
}
