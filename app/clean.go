package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/network/agent"
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

// keepBlock notes the node's pod range, so that cleaning up without a cluster knows what to look for.
func keepBlock(runDir string, block netip.Prefix) error {
	return atomicfile.Write(filepath.Join(runDir, "pod-range"), []byte(block.String()), 0o644)
}

// cleanNetwork removes the pods' networks and the Service rules.
func cleanNetwork(config Config) error {
	raw, err := os.ReadFile(filepath.Join(config.RunDir, "pod-range"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the node never came as far as having a network
	}
	if err != nil {
		return err
	}
	block, err := netip.ParsePrefix(string(raw))
	if err != nil {
		return fmt.Errorf("read the node's pod range: %w", err)
	}
	ranges, err := config.ranges(func() (Ranges, error) {
		return Ranges{}, errkind.New(errkind.NotFound, "%s holds no address ranges: was it the data directory of this node?", config.DataDir)
	})
	if err != nil {
		return err
	}
	pods, err := podnet.New(podnet.Config{RunDir: config.RunDir, DataDir: config.DataDir, PodCIDRs: []netip.Prefix{block},
		ClusterCIDRs: []netip.Prefix{ranges.Pods}, ServiceCIDRs: []netip.Prefix{ranges.Services},
		LocalAddrs: []netip.Addr{ranges.DNS()}, Log: config.Logger})
	if err != nil {
		return err
	}
	defer pods.Close()
	return errors.Join(agent.Cleanup(agent.Config{RunDir: config.RunDir, PodCIDRs: []netip.Prefix{block}, ClusterCIDRs: []netip.Prefix{ranges.Pods},
		ServiceCIDRs: []netip.Prefix{ranges.Services}, DNS: []netip.Addr{ranges.DNS()}, Log: config.Logger}), pods.Cleanup())
}

// cleanFiles takes away mounts and cgroups, and everything in the run directory but the lock and the log.
func cleanFiles(config Config) error {
	errs := []error{unmountBelow(config.RunDir), unmountBelow(filepath.Join(config.DataDir, "kubelet")), unmountBelow(filepath.Join(config.DataDir, "containers"))}
	errs = append(errs, removeCgroups(config.CgroupParent))
	if errors.Join(errs...) != nil {
		return errors.Join(errs...) // never delete through a mount that is still there
	}
	entries, err := os.ReadDir(config.RunDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{filepath.Base(lockPath("")), "server.log"}, e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(config.RunDir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts everything below dir, the innermost first.
func unmountBelow(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(unescape(fields[4]), dir+"/") {
			points = append(points, unescape(fields[4]))
		}
	}
	var errs []error
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
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
