package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/instance"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kube"
	nodenet "github.com/cuppa-project/cuppa/network/agent"
	"github.com/cuppa-project/cuppa/network/podnet"
)

// leaveTimeout bounds the cleaning up after the last container.
const leaveTimeout = 30 * time.Second

// awaitNode returns once the node is ready.
func awaitNode(ctx context.Context, cluster kube.Cluster, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{}, 1)
	err := kube.Watch(ctx, cluster, kube.Nodes, func(_, node *corev1.Node) {
		if node == nil || node.Name != name {
			return
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				select {
				case ready <- struct{}{}:
				default:
				}
			}
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// networkFile notes the node's address ranges, so that cleaning up needs no cluster and no undamaged data directory to know what to look for.
const networkFile = "network.json"

// nodeNetwork is its content.
type nodeNetwork struct {
	Block  netip.Prefix // of the cluster's pod range, this node's part
	Ranges Ranges
}

func keepBlock(runDir string, block netip.Prefix, ranges Ranges) error {
	raw, err := json.Marshal(nodeNetwork{block, ranges})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(runDir, networkFile), raw, 0o644)
}

// cleanNetwork removes the pods' networks and the Service rules.
func cleanNetwork(config Config) error {
	raw, err := os.ReadFile(filepath.Join(config.RunDir, networkFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the node never came as far as having a network
	}
	if err != nil {
		return err
	}
	var have nodeNetwork
	if err := json.Unmarshal(raw, &have); err != nil {
		return fmt.Errorf("read the node's address ranges in %s: %w", filepath.Join(config.RunDir, networkFile), err)
	}
	block, ranges := have.Block, have.Ranges
	pods, err := podnet.New(podnet.Config{RunDir: config.RunDir, DataDir: config.DataDir, PodCIDRs: []netip.Prefix{block},
		ClusterCIDRs: []netip.Prefix{ranges.Pods}, ServiceCIDRs: []netip.Prefix{ranges.Services},
		LocalAddrs: []netip.Addr{ranges.DNS()}, Log: config.Logger})
	if err != nil {
		return err
	}
	defer pods.Close()
	return errors.Join(nodenet.Cleanup(nodenet.Config{RunDir: config.RunDir, PodCIDRs: []netip.Prefix{block}, ClusterCIDRs: []netip.Prefix{ranges.Pods},
		ServiceCIDRs: []netip.Prefix{ranges.Services}, DNS: []netip.Addr{ranges.DNS()}, Log: config.Logger}), pods.Cleanup())
}

// cleanFiles takes away mounts and cgroups, and everything in the run directory but the lock and the log.
func cleanFiles(config Config) error {
	var errs []error
	for _, dir := range []string{config.RunDir, filepath.Join(config.DataDir, "kubelet"), filepath.Join(config.DataDir, "containers")} {
		busy, err := mount.UnmountBelow(dir)
		if len(busy) > 0 {
			config.Logger.Warn("mounts were in use and will end with their last user", "mounts", busy)
		}
		errs = append(errs, err)
	}
	errs = append(errs, removeCgroups(config.CgroupParent))
	if errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	entries, err := os.ReadDir(config.RunDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{instance.LockName, "server.log"}, e.Name()) {
			errs = append(errs, mount.RemoveAll(filepath.Join(config.RunDir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes the (by now empty) cgroups below parent from every hierarchy.
func removeCgroups(parent string) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
	if err != nil {
		return err
	}
	roots = append(roots, "/sys/fs/cgroup"+parent)
	var errs []error
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // what went meanwhile needs no removing
		})
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}
