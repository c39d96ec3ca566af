package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/controller/nodeipam"
	"github.com/cuppa-project/cuppa/engine"
	"github.com/cuppa-project/cuppa/engine/cri"
	"github.com/cuppa-project/cuppa/engine/cri/images"
	"github.com/cuppa-project/cuppa/engine/dockerapi"
	"github.com/cuppa-project/cuppa/engine/helper"
	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet"
	nodenet "github.com/cuppa-project/cuppa/network/agent"
	"github.com/cuppa-project/cuppa/network/podnet"
)

// node is the machine's part: the engine, the network, the kubelet.
type node struct {
	config  Config
	ranges  Ranges
	address net.IP
	logger  *slog.Logger

	supervisor *supervisor.Client
	engine     *engine.Engine
	served     chan struct{} // closed once this node serves the cluster's Services
	pods       atomic.Pointer[kube.Source]
}

// openNode starts or finds the supervisor and opens the engine. It needs no cluster, so it runs while the control plane starts.
func openNode(ctx context.Context, config Config, ranges Ranges, address net.IP) (*node, error) {
	n := &node{config: config, ranges: ranges, address: address, logger: config.Logger, served: make(chan struct{})}
	engine.BridgeLogs(n.logger.With("part", "engine"))
	var err error
	n.supervisor, err = helper.Start(ctx, helper.Config{RunDir: config.RunDir, StateDir: filepath.Join(config.DataDir, "containers"), Log: n.logger.With("part", "supervisor")})
	if err != nil {
		return nil, err
	}
	n.engine, err = engine.New(engine.Config{DataDir: config.DataDir, RunDir: config.RunDir, Runtime: n.supervisor,
		CgroupParent: strings.TrimPrefix(config.CgroupParent, "/"),
		VolumeUsers:  n.volumeUsers, Logger: n.logger.With("part", "engine")})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// volumeUsers names the pods of this node that mount a named volume. Before the cluster is known, everything counts as used.
func (n *node) volumeUsers(name string) []string {
	pods := n.pods.Load()
	if pods == nil {
		return []string{"a pod of the cluster, which is still starting"}
	}
	dir := filepath.Join(n.config.DataDir, "volumes", name) + "/"
	var users []string
	for _, obj := range (*pods).List("", labels.Everything()) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Spec.NodeName != n.config.NodeName || kube.PodFinished(pod) {
			continue
		}
		for _, v := range pod.Spec.Volumes {
			if v.HostPath != nil && strings.HasPrefix(v.HostPath.Path+"/", dir) {
				users = append(users, "pod "+pod.Namespace+"/"+pod.Name)
				break
			}
		}
	}
	return users
}

func (n *node) close() error { return n.engine.Close() }

// run takes part in the cluster until ctx ends. cluster is the API as this node, filled with what there is of its pods, of nodes and of Services;
// serving is what the kubelet shows, and whom it believes.
func (n *node) run(ctx context.Context, cluster kube.Cluster, serving *tls.Config) error {
	source := cluster.Source(kube.Pods)
	n.pods.Store(&source)
	block, err := n.podRange(cluster)
	if err != nil {
		return err
	}
	if err := keepBlock(n.config.RunDir, block, n.ranges); err != nil {
		return err
	}
	nodeIP, _ := netip.AddrFromSlice(n.address)
	nodeIP = nodeIP.Unmap()
	pods, err := podnet.New(podnet.Config{RunDir: n.config.RunDir, DataDir: n.config.DataDir,
		PodCIDRs: []netip.Prefix{block}, ClusterCIDRs: []netip.Prefix{n.ranges.Pods}, ServiceCIDRs: []netip.Prefix{n.ranges.Services},
		LocalAddrs: []netip.Addr{n.ranges.DNS()}, NodeIPs: []netip.Addr{nodeIP}, Log: n.logger.With("part", "network")})
	if err != nil {
		return err
	}
	defer pods.Close()
	door, err := cri.New(cri.Config{Runtime: n.supervisor, Images: images.New(n.engine.Images), Network: podNetwork{pods},
		StateDir: filepath.Join(n.config.RunDir, "cri"), CgroupRoot: n.config.CgroupParent, SeccompDir: filepath.Join(n.config.DataDir, "kubelet", "seccomp"),
		Version: n.config.Version, Log: n.logger.With("part", "cri")})
	if err != nil {
		return err
	}
	docker, err := dockerapi.New(dockerapi.Config{Socket: n.engine.Socket(), Images: n.engine.Images, Volumes: n.engine.Volumes,
		Builds: n.engine.Builds, Version: n.config.Version, DataDir: n.config.DataDir,
		Driver: n.engine.Content.LayerDriver(), Logger: n.logger.With("part", "docker")})
	if err != nil {
		return err
	}
	build, err := helper.Build()
	if err != nil {
		return err
	}
	network, err := nodenet.New(nodenet.Config{Cluster: cluster, NodeName: n.config.NodeName, NodeIPs: []netip.Addr{nodeIP}, Pods: pods,
		PodCIDRs: []netip.Prefix{block}, ClusterCIDRs: []netip.Prefix{n.ranges.Pods}, ServiceCIDRs: []netip.Prefix{n.ranges.Services},
		DNS: []netip.Addr{n.ranges.DNS()}, DNSLauncher: launchDNS, DNSBuild: build, ResolvConf: n.config.ResolvConf, RunDir: n.config.RunDir, Log: n.logger.With("part", "network")})
	if err != nil {
		return err
	}
	k, err := kubelet.New(kubelet.Config{
		NodeName: n.config.NodeName, Cluster: cluster, Runtime: door, Images: door, Streamer: door, Extender: door,
		DataDir: filepath.Join(n.config.DataDir, "kubelet"), RunDir: filepath.Join(n.config.RunDir, "kubelet"),
		NodeIPs: []string{nodeIP.String()}, PodCIDR: block.String(), ClusterDNS: []string{n.ranges.DNS().String()}, ClusterDomain: api.ClusterDomain, ResolvConf: n.config.ResolvConf,
		CgroupRoot: strings.TrimPrefix(n.config.CgroupParent, "/"),
		ServerAddr: n.config.KubeletListen, ServerTLS: serving, Logger: n.logger.With("part", "kubelet"),
	})
	if err != nil {
		return err
	}
	// The parts live a little longer than ctx: what was deleted before the stop is taken down first.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	return run.Group(parts, pods.Run, n.engine.Run, docker.Run, network.Run, k.Run, func(parts context.Context) error {
		defer stop()
		select {
		case <-network.Synced():
			close(n.served)
		case <-ctx.Done():
		case <-parts.Done():
		}
		select {
		case <-ctx.Done():
			n.settle(parts, cluster, door)
		case <-parts.Done():
		}
		return nil
	})
}

// How long a stop waits for deleted pods, and how often it looks.
const (
	settleTime  = 10 * time.Second
	settleEvery = 20 * time.Millisecond
)

// settle returns when no sandbox is left of a pod that the API does not have any more.
func (n *node) settle(ctx context.Context, cluster kube.Cluster, door *cri.Service) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for ctx.Err() == nil {
		sandboxes, err := door.ListPodSandbox(ctx, nil)
		if err != nil {
			n.logger.Warn("cannot list what is left of deleted pods", "err", err)
			return
		}
		left := false
		for _, s := range sandboxes {
			pod, ok := kube.Get[*corev1.Pod](cluster, kube.Pods, s.Metadata.Namespace, s.Metadata.Name)
			left = left || !ok || string(pod.UID) != s.Metadata.Uid
		}
		n.logger.Debug("waiting for what is left of deleted pods", "sandboxes", len(sandboxes), "left", left)
		if !left {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(settleEvery):
		}
	}
}

// launchDNS starts the node's DNS server as a process of its own, which goes on answering while cuppa is away.
func launchDNS(ctx context.Context, arg string, output *os.File) error {
	return helper.Run(ctx, output, nil, "launch-dns", arg)
}

// podRange is this node's part of the pod range: the one its Node object has, or the first free one.
func (n *node) podRange(cluster kube.Cluster) (netip.Prefix, error) {
	var taken []netip.Prefix
	for _, other := range kube.List[*corev1.Node](cluster, kube.Nodes, "", nil) {
		block, err := netip.ParsePrefix(other.Spec.PodCIDR)
		if err != nil {
			continue
		}
		if other.Name == n.config.NodeName {
			return block, nil
		}
		taken = append(taken, block)
	}
	block, err := nodeipam.Decide(n.ranges.Pods, taken)
	if err != nil {
		return block, fmt.Errorf("choose the node's pod range: %w", err)
	}
	return block, nil
}

// podNetwork lets the CRI door use the pod network; each speaks plain values of its own.
type podNetwork struct{ *podnet.Net }

// Setup implements cri.Network.
func (p podNetwork) Setup(ctx context.Context, pod cri.PodNetwork) (cri.PodAddresses, error) {
	at, err := p.Net.Setup(ctx, podOf(pod))
	if err != nil {
		return cri.PodAddresses{}, err
	}
	out := cri.PodAddresses{NetNSPath: at.NetNS}
	if !pod.HostNetwork {
		for _, ip := range at.IPs {
			out.IPs = append(out.IPs, ip.String())
		}
	}
	return out, nil
}

// Teardown implements cri.Network.
func (p podNetwork) Teardown(ctx context.Context, pod cri.PodNetwork) error {
	err := p.Net.Teardown(ctx, pod.ID)
	if errors.Is(err, errkind.NotFound) {
		return nil
	}
	return err
}

// Status implements cri.Network.
func (p podNetwork) Status(context.Context) error { return nil }

func podOf(pod cri.PodNetwork) podnet.Pod {
	out := podnet.Pod{ID: pod.ID, Namespace: pod.Namespace, Name: pod.Name, HostNetwork: pod.HostNetwork}
	for _, m := range pod.PortMappings {
		port := podnet.HostPort{HostPort: m.HostPort, ContainerPort: m.ContainerPort, Protocol: m.Protocol}
		if ip, err := netip.ParseAddr(m.HostIP); err == nil && !ip.IsUnspecified() {
			port.HostIP = ip
		}
		out.HostPorts = append(out.HostPorts, port)
	}
	return out
}
