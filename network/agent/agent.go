// Package agent feeds the node's network from the API: Services and EndpointSlices to the proxy and to DNS, published ports to sockets, and back
// what became of them into the Services' status.
//
// It moves no packet and decides little: plan.go translates API objects into the plain values that network/proxy, network/dns and network/localport take.
// It is level-triggered: an event only says which Service to look at again. Start with Agent.Run.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/network/dns"
	"github.com/cuppa-project/cuppa/network/hostfw"
	"github.com/cuppa-project/cuppa/network/localport"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/podnet"
	"github.com/cuppa-project/cuppa/network/proxy"
)

// Config describes one node's agent.
type Config struct {
	Cluster  kube.Cluster
	NodeName string
	NodeIPs  []netip.Addr
	// NS is the node's network namespace; nil is the process's own.
	NS *netns.NS
	// Pods tells the host ports of this node's pods. nil: there are none.
	Pods Pods

	PodCIDRs, ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// DNS are the addresses that pods ask; the node must hold them (podnet's LocalAddrs).
	DNS []netip.Addr
	// DNSLauncher, if given, starts the DNS server as a process of its own, so that names resolve while this one is away; DNSBuild tells its program
	// from another. nil: this process answers.
	DNSLauncher dns.Launcher
	DNSBuild    string
	// ResolvConf names the host's resolvers. Default /etc/resolv.conf. Upstreams, if given, are asked instead.
	ResolvConf string
	Upstreams  []netip.AddrPort
	// Table is the name of the nftables tables. Default "cuppa".
	Table string
	// RunDir keeps the DNS zone, so that names resolve before the API answers again, and the DNS process's socket and log.
	RunDir string
	// NoStatus leaves the status of LoadBalancer Services to another node's agent.
	NoStatus bool
	Log      *slog.Logger
}

// Pods is what the agent wants from the pod network.
type Pods interface {
	HostPorts() []podnet.PodPort
	Notify(fn func()) (stop func())
}

// Times of the loop.
const (
	settle   = time.Millisecond // how long a burst of events may go on gathering
	retry    = 2 * time.Second  // after an error, and for ports that were taken
	retryMax = 30 * time.Second // of status writes
)

// Agent is one node's.
type Agent struct {
	cfg    Config
	proxy  *proxy.Proxy
	ports  *localport.Set
	names  zone        // what DNS answers from
	remote *dns.Remote // the same, if another process answers
	events *events.Recorder

	synced chan struct{} // closed after the first round
	index  *index
	status *statusWriter
	chosen *chosen
	known  known
}

// New opens the kernel's tables and the DNS sockets. It fails at once, and says what to do, if the kernel or the process lacks what is needed.
func New(cfg Config) (*Agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Cluster == nil || cfg.NodeName == "" {
		return nil, errkind.New(errkind.Invalid, "open network agent: no cluster or no node name given")
	}
	p, err := proxy.New(proxyConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("open network agent: %w", err)
	}
	a := &Agent{
		cfg: cfg, synced: make(chan struct{}), proxy: p, ports: localport.New(localport.Config{NS: cfg.NS, Log: cfg.Log}), index: newIndex(cfg.Cluster), known: newKnown(), chosen: newChosen(),
		events: events.New(events.Config{Cluster: cfg.Cluster, Component: "cuppa-network", Host: cfg.NodeName, Logger: cfg.Log}),
	}
	a.status = newStatusWriter(cfg, a.events)
	return a, nil
}

func proxyConfig(cfg Config) proxy.Config {
	return proxy.Config{
		NS: cfg.NS, Table: cfg.Table, PodCIDRs: cfg.PodCIDRs, ClusterCIDRs: cfg.ClusterCIDRs, ServiceCIDRs: cfg.ServiceCIDRs, DNS: cfg.DNS, Log: cfg.Log,
	}
}

func firewall(cfg Config) hostfw.Config {
	c := hostfw.Config{NS: cfg.NS, Ranges: cfg.ClusterCIDRs, Name: cfg.Table, Log: cfg.Log}
	if c.Name == "" {
		c.Name = "cuppa"
	}
	if len(c.Ranges) == 0 {
		c.Ranges = cfg.PodCIDRs
	}
	return c
}

// Run keeps the node's network in step with the cluster until ctx ends. Tables and routes stay, so that pods are served while the
// process is away, and so does the DNS server if it is a process of its own; the sockets of published ports end.
func (a *Agent) Run(ctx context.Context) error {
	defer a.proxy.Close()
	parts, err := a.openDNS(ctx)
	if err != nil {
		return fmt.Errorf("run network agent: %w", err)
	}
	if a.remote != nil {
		defer a.remote.Close()
	}
	parts = append(parts, hostfw.New(firewall(a.cfg)).Run, a.proxy.Run, a.ports.Run, a.events.Run, a.loop)
	if !a.cfg.NoStatus {
		parts = append(parts, a.status.Run)
	}
	return run.Group(ctx, parts...)
}

// Synced is closed once the Services that were there at the start are served.
func (a *Agent) Synced() <-chan struct{} { return a.synced }

// loop carries over what changes.
func (a *Agent) loop(ctx context.Context) error {
	if err := a.index.watch(ctx); err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	if ctx.Err() != nil {
		return nil
	}
	if a.cfg.Pods != nil {
		defer a.cfg.Pods.Notify(a.index.touchPods)()
		a.index.touchPods()
	}
	a.index.touchAll()
	first := sync.OnceFunc(func() { close(a.synced) })
	for {
		again := a.sync(ctx, a.index.take())
		first()
		var timer <-chan time.Time
		if again {
			timer = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer:
		case <-a.index.wake:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
	}
}

// Cleanup ends the DNS server's process, if there is one, and removes what the agent put into the kernel: its tables, and its rules in the host's. (Sockets end with
// the process; addresses, links and routes are podnet's.)
func Cleanup(cfg Config) error {
	p, err := proxy.New(proxyConfig(cfg))
	if err != nil {
		return fmt.Errorf("clean up network agent: %w", err)
	}
	return errors.Join(dns.Stop(dnsSocket(cfg)), hostfw.New(firewall(cfg)).Cleanup(context.Background()), p.Cleanup(), p.Close())
}
