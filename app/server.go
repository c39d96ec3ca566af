package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/network/ipam"
	"github.com/cuppa-project/cuppa/network/podnet"
)

// Server is `cuppa server`: control plane and node in one process. It blocks until ctx ends or a part fails. Containers go on running
// after it has ended; when none is left, it removes what it made of networks, mounts and cgroups.
func Server(ctx context.Context, config Config) error {
	return withProfiles(config.Pprof, func() error { return server(ctx, config) })
}

func server(ctx context.Context, config Config) error {
	if err := rights(config); err != nil {
		return err
	}
	if err := config.fill(); err != nil {
		return err
	}
	if err := makeDirs(config); err != nil {
		return err
	}
	release, err := takeLocks(config)
	if err != nil {
		return err
	}
	defer release()
	if err := preflight(config); err != nil {
		return err
	}
	ranges, err := config.ranges(chooseRanges)
	if err != nil {
		return err
	}
	address, err := nodeAddress(config, ranges)
	if err != nil {
		return err
	}
	c, err := newControl(config, ranges, address)
	if err != nil {
		return err
	}
	if config.NoNode {
		return run.Group(ctx, c.run, giveBack, c.announceAlone)
	}
	return withNode(ctx, config, c, address)
}

// withNode runs this machine's node beside the control plane, by the same agent as on any other machine: it knows nothing of the server but its
// address, whom to believe, and the token to join with. The node ends first: its last reports still find a server.
func withNode(ctx context.Context, config Config, c *control, address net.IP) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	a := &agent{config: config, ranges: c.ranges, address: address, certs: c.certs, logger: config.Logger, door: func(ctx context.Context) (door, bool) {
		select {
		case <-c.started:
			return door{server: c.url, ca: c.certs.ca.PEM(), token: c.token}, true
		case <-ctx.Done():
			return door{}, false
		}
	}}
	err := run.Group(inner, c.run, giveBack, func(inner context.Context) error {
		defer cancel()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		context.AfterFunc(inner, stop)
		return a.run(ctx)
	})
	return errors.Join(err, leave(config))
}

// announceAlone is announce for a control plane without a node. It lasts as long as the server.
func (c *control) announceAlone(ctx context.Context) error {
	select {
	case <-c.started:
		if c.config.Ready != nil {
			c.config.Ready()
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

func chooseRanges() (Ranges, error) {
	host, err := podnet.HostPrefixes(nil)
	if err != nil {
		return Ranges{}, err
	}
	chosen, err := ipam.Choose(host)
	if err != nil {
		return Ranges{}, err
	}
	return Ranges{Pods: chosen.Pods, Services: chosen.Services}, nil
}

// nodeAddress is the address under which others know this node: the configured one, the source address of the default route, or, on a machine
// without a network, the node's own address in its pod range.
func nodeAddress(config Config, ranges Ranges) (net.IP, error) {
	if config.NodeIP != "" {
		ip := net.ParseIP(config.NodeIP)
		if ip == nil {
			return nil, errkind.New(errkind.Invalid, "--node-ip %q is not an IP address", config.NodeIP)
		}
		return ip, nil
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	if err != nil {
		return nil, fmt.Errorf("read the default route: %w", err)
	}
	for _, r := range routes {
		if r.Src != nil {
			return r.Src, nil
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err == nil && len(addrs) > 0 {
			return addrs[0].IP, nil
		}
	}
	return ipam.NodeAddr(ranges.Pods).AsSlice(), nil
}

// leave ends the supervisor if it holds nothing any more, and then removes the node's networks.
func leave(config Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	client := supervisor.New(filepath.Join(config.RunDir, "supervisor.sock"), "")
	containers, err := client.List(ctx)
	if err != nil || len(containers) > 0 {
		return nil
	}
	return Clean(ctx, config)
}

// Clean ends every container of a node and removes what the node has in the kernel: networks, rules, mounts, cgroups. Images, volumes
// and the cluster's data stay. No server may be running in the run directory.
func Clean(ctx context.Context, config Config) error {
	if err := config.fill(); err != nil {
		return err
	}
	var errs []error
	client := supervisor.New(filepath.Join(config.RunDir, "supervisor.sock"), "")
	if err := client.Shutdown(ctx, true); err != nil && !errors.Is(err, errkind.Unavailable) {
		errs = append(errs, err)
	}
	errs = append(errs, cleanNetwork(config), cleanFiles(config))
	return errors.Join(errs...)
}
