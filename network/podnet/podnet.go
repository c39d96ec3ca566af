// Package podnet gives pods their network: a namespace, a routed veth, addresses, and the node's routes to them.
//
// There is no bridge and no ARP: a pod has /32 and /128 addresses and a permanent neighbour entry for a link-local gateway,
// the node has one route and one permanent neighbour entry per pod. It knows nothing of Services (network/proxy) or containers. All state is
// found again in the kernel and under the run directory, so killing the process touches no pod. Start with Net.Setup.
package podnet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/ipam"
	"github.com/cuppa-project/cuppa/network/netns"
)

// Config describes one node's pod network. Zero values are right where the comment says so.
type Config struct {
	// NS is the node's network namespace; nil is the process's own.
	NS *netns.NS
	// RunDir holds namespace files (RunDir/netns) and records of pods (RunDir/podnet); it should not survive a reboot.
	RunDir string
	// DataDir holds the file of address allocations.
	DataDir string
	// PodCIDRs are the node's own ranges: one IPv4, one IPv6, or both.
	PodCIDRs []netip.Prefix
	// ClusterCIDRs are the ranges of all nodes; an address of them that nobody holds is unreachable. Default: PodCIDRs.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are routed on lo, so that packets of the node's own processes reach the Service rules.
	ServiceCIDRs []netip.Prefix
	// LocalAddrs are further addresses the node answers on itself, on lo: the cluster's DNS address.
	LocalAddrs []netip.Addr
	// NodeIPs are what pods in the host's network have as addresses.
	NodeIPs []netip.Addr
	// LinkPrefix begins the names of the host side's links. Default "cup". At most 5 letters.
	LinkPrefix string
	// MTU of the pods' links. Default: the uplink's, or 1500 without one; Overhead (of a tunnel between nodes) is taken off.
	MTU, Overhead int
	// Ready is how many namespaces with a link are kept ready. Default 4.
	Ready int
	Log   *slog.Logger
}

func (c *Config) fill() error {
	if c.LinkPrefix == "" {
		c.LinkPrefix = "cup"
	}
	if c.Ready == 0 {
		c.Ready = 4
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.ClusterCIDRs) == 0 {
		c.ClusterCIDRs = c.PodCIDRs
	}
	switch {
	case c.RunDir == "" || c.DataDir == "":
		return errkind.New(errkind.Invalid, "pod network: run and data directories must be given")
	case len(c.PodCIDRs) == 0:
		return errkind.New(errkind.Invalid, "pod network: no pod range given")
	case len(c.LinkPrefix) > 5:
		return errkind.New(errkind.Invalid, "pod network: link prefix %q is longer than 5 letters", c.LinkPrefix)
	}
	return nil
}

// Pod is what Setup needs to know of a sandbox.
type Pod struct {
	ID              string
	Namespace, Name string
	// HostNetwork pods share the node's namespace: they get no link, and the node's addresses.
	HostNetwork bool
	// HostPorts are ports of the node that lead to the pod. The proxy serves them; here they are only remembered.
	HostPorts []HostPort
}

// HostPort is a port of the node that leads to a port of one pod.
type HostPort struct {
	HostIP        netip.Addr `json:"hostIP,omitzero"` // the zero Addr: all addresses of the node
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Protocol      string     `json:"protocol"` // TCP, UDP or SCTP
}

// Attachment is a pod's place in the network.
type Attachment struct {
	NetNS string // path of the namespace; "" for the node's
	Link  string // host side of the pod's link
	IPs   []netip.Addr
}

// Net is one node's pod network. Its methods may be called from several goroutines.
type Net struct {
	cfg   Config
	addrs *ipam.Pool
	h     *netlink.Handle

	prepareMu sync.Mutex
	prepared  bool
	mtu       int

	wake chan struct{} // tells Run that there is something to do

	mu       sync.Mutex
	pods     map[string]record
	ready    []*entry
	departed map[netip.Addr]bool      // addresses of pods that have gone, for Run
	busy     map[string]chan struct{} // ids that a call is working on
	notify   map[int]func()
	notifyN  int
}

// New opens the node's pod network and finds the pods that are there already. It changes nothing in the kernel: that is left to
// the first Setup, or to Run.
func New(cfg Config) (*Net, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	pool, err := ipam.Open(ipam.Config{
		Path: filepath.Join(cfg.DataDir, "ipam.json"), Prefixes: cfg.PodCIDRs, Reserved: cfg.LocalAddrs,
	})
	if err != nil {
		return nil, fmt.Errorf("open pod network: %w", err)
	}
	h, err := openHandle(cfg.NS)
	if err != nil {
		return nil, fmt.Errorf("open pod network: %w", err)
	}
	n := &Net{
		cfg: cfg, addrs: pool, h: h, wake: make(chan struct{}, 1),
		pods: map[string]record{}, busy: map[string]chan struct{}{}, notify: map[int]func(){},
	}
	if err := n.find(); err != nil {
		h.Close()
		return nil, fmt.Errorf("open pod network: %w", err)
	}
	return n, nil
}

// Close gives up the handles. Pods keep their network.
func (n *Net) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.ready {
		e.close()
	}
	n.ready = nil
	n.h.Close()
}

// NodeAddrs are the addresses of the pod ranges that the node itself holds; packets to pods from the node come from them.
func (n *Net) NodeAddrs() []netip.Addr { return nodeAddrs(n.cfg.PodCIDRs) }

// Setup gives the pod its network, or returns the one it has. A failed Setup leaves nothing behind.
func (n *Net) Setup(ctx context.Context, pod Pod) (Attachment, error) {
	if pod.ID == "" {
		return Attachment{}, errkind.New(errkind.Invalid, "set up pod network: the sandbox has no id")
	}
	if err := ctx.Err(); err != nil {
		return Attachment{}, fmt.Errorf("set up network of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if pod.HostNetwork {
		return Attachment{IPs: slices.Clone(n.cfg.NodeIPs)}, nil
	}
	if err := n.prepare(); err != nil {
		return Attachment{}, err
	}
	defer n.own(pod.ID)()
	at, err := n.setup(pod)
	if err != nil {
		if undo := n.teardown(pod.ID); undo != nil {
			n.cfg.Log.Error("undo failed pod network", "pod", pod.Namespace+"/"+pod.Name, "err", undo)
		}
		return Attachment{}, fmt.Errorf("set up network of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if len(pod.HostPorts) > 0 {
		n.tell()
	}
	return at, nil
}

func (n *Net) setup(pod Pod) (Attachment, error) {
	rec, known := n.record(pod.ID)
	if known && !netns.IsNamespace(rec.NetNS) {
		// The machine was restarted, or somebody unmounted it: the pod gets a new namespace with its old addresses.
		known = false
	}
	var e *entry
	if known {
		e = &entry{link: rec.Link, path: rec.NetNS}
	} else {
		ips, err := n.addrs.Allocate(pod.ID)
		if err != nil {
			return Attachment{}, err
		}
		if e, err = n.takeReady(); err != nil {
			return Attachment{}, err
		}
		rec = record{ID: pod.ID, Namespace: pod.Namespace, Name: pod.Name, Link: e.link, NetNS: e.path, IPs: ips}
	}
	defer e.close()
	rec.HostPorts = pod.HostPorts
	if err := n.remember(rec); err != nil {
		n.drop(e)
		return Attachment{}, err
	}
	if err := n.attach(e, rec.IPs); err != nil {
		return Attachment{}, err
	}
	return rec.attachment(), nil
}

// Teardown takes the pod's network away: its routes first, so that its addresses are refused at once, then the namespace.
// An unknown id is no error.
func (n *Net) Teardown(ctx context.Context, id string) error {
	defer n.own(id)()
	rec, _ := n.record(id)
	if err := n.teardown(id); err != nil {
		return fmt.Errorf("tear down network of pod %s/%s: %w", rec.Namespace, rec.Name, err)
	}
	if len(rec.HostPorts) > 0 {
		n.tell()
	}
	return nil
}

func (n *Net) teardown(id string) error {
	rec, ok := n.record(id)
	if ok {
		if err := n.detach(rec); err != nil {
			return err
		}
		if err := netns.Remove(rec.NetNS); err != nil {
			return err
		}
		if err := n.forget(id); err != nil {
			return err
		}
		n.depart(rec.IPs)
	}
	return n.addrs.Release(id)
}

// Status returns the pod's place in the network; an error of kind NotFound if it has none, of kind Unavailable if its namespace
// has gone.
func (n *Net) Status(id string) (Attachment, error) {
	rec, ok := n.record(id)
	if !ok {
		return Attachment{}, errkind.New(errkind.NotFound, "network of pod sandbox %s: not set up", id)
	}
	if !netns.IsNamespace(rec.NetNS) {
		return rec.attachment(), errkind.New(errkind.Unavailable, "network of pod %s/%s: namespace %s has gone", rec.Namespace, rec.Name, rec.NetNS)
	}
	return rec.attachment(), nil
}

// Pods lists the ids of all pods that have a network, in order.
func (n *Net) Pods() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := make([]string, 0, len(n.pods))
	for id := range n.pods {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// PodPort is one HostPort together with the pod it leads to.
type PodPort struct {
	HostPort
	Namespace, Name string
	IPs             []netip.Addr
}

// HostPorts lists the host ports of all pods, in the order of pod ids.
func (n *Net) HostPorts() []PodPort {
	var all []PodPort
	for _, id := range n.Pods() {
		rec, _ := n.record(id)
		for _, hp := range rec.HostPorts {
			all = append(all, PodPort{HostPort: hp, Namespace: rec.Namespace, Name: rec.Name, IPs: rec.IPs})
		}
	}
	return all
}

// Notify calls fn whenever HostPorts may have changed, until stop is called. fn must not block.
func (n *Net) Notify(fn func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notifyN++
	key := n.notifyN
	n.notify[key] = fn
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.notify, key)
	}
}

func (n *Net) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, fn := range n.notify {
		fn()
	}
}

// own makes the caller the only one working on id, and returns how to end that.
func (n *Net) own(id string) func() {
	for {
		n.mu.Lock()
		wait, taken := n.busy[id]
		if !taken {
			done := make(chan struct{})
			n.busy[id] = done
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				delete(n.busy, id)
				n.mu.Unlock()
				close(done)
			}
		}
		n.mu.Unlock()
		<-wait
	}
}
