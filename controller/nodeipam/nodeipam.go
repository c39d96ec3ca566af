// Package nodeipam gives each node its own part of the pod address range.
//
// Start with Decide: the lowest free block of fixed size.
package nodeipam

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// nodeBits is the prefix length of one node's block: 254 pods.
const nodeBits = 24

type controller struct {
	loop.Deps
	pods netip.Prefix
	mu   sync.Mutex // one assignment at a time, so that two nodes never get one block
}

// New returns the controller as a long-lived part. pods is the cluster's pod range (IPv4).
func New(deps loop.Deps, pods netip.Prefix) run.Func {
	c := &controller{Deps: deps, pods: pods}
	return loop.Run(loop.Config{Name: "nodeipam", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 1})
}

func (c *controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	return kube.Watch(ctx, c.Cluster, kube.Nodes, func(old, new *corev1.Node) {
		if new != nil && new.Spec.PodCIDR == "" {
			enqueue(loop.KeyOf(new))
		}
	})
}

func (c *controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node, ok := kube.Get[*corev1.Node](c.Cluster, kube.Nodes, "", key.Name)
	if !ok || node.Spec.PodCIDR != "" {
		return 0, nil
	}
	var taken []netip.Prefix
	for _, n := range kube.List[*corev1.Node](c.Cluster, kube.Nodes, "", nil) {
		if p, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
			taken = append(taken, p)
		}
	}
	block, err := Decide(c.pods, taken)
	if err != nil {
		return 0, fmt.Errorf("assign pod range: %w", err)
	}
	_, err = kube.MergePatch(ctx, c.Cluster, kube.Nodes, "", key.Name, map[string]any{
		"spec": map[string]any{"podCIDR": block.String(), "podCIDRs": []string{block.String()}}})
	return 0, err
}

// Decide returns the lowest block of the range that overlaps none that is taken. Exhausted if there is none.
func Decide(pods netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	bits := max(nodeBits, pods.Bits())
	base := binary.BigEndian.Uint32(pods.Masked().Addr().AsSlice())
	for i := range uint32(1) << (bits - pods.Bits()) {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], base+i<<(32-bits))
		block := netip.PrefixFrom(netip.AddrFrom4(raw), bits)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(block)
		}
		if free {
			return block, nil
		}
	}
	return netip.Prefix{}, errkind.New(errkind.Exhausted, "no block of /%d is free in %s", bits, pods)
}
