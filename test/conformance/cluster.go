package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// cleanupTimeout bounds the removal of the nodes, which goes on after ^C too.
const cleanupTimeout = 2 * time.Minute

// cluster is the nodes of a run. There is one as yet; the first one is where the suite runs.
type cluster struct {
	*conformance
	dir   string
	nodes []*node
}

// node is one machine: a network namespace without an uplink, with a server of the program under test.
type node struct {
	*conformance
	name  string
	netns string // path of the namespace
	dir   string
}

func (n *node) data() string       { return filepath.Join(n.dir, "data") }
func (n *node) run() string        { return filepath.Join(n.dir, "run") }
func (n *node) kubeconfig() string { return filepath.Join(n.data(), "admin.kubeconfig") }

// withCluster starts nodes for the time of a function and removes them with everything on them, whatever came of it.
func (c *conformance) withCluster(ctx context.Context, do func(context.Context, *cluster) error) (err error) {
	// Short, because sockets lie below it, and the names of those have a limit.
	dir, err := os.MkdirTemp("", "cuppa-conf-")
	if err != nil {
		return err
	}
	nodes := &cluster{conformance: c, dir: dir}
	defer func() { err = errors.Join(err, nodes.remove()) }()
	n, err := nodes.addNode(ctx, filepath.Base(dir))
	if err != nil {
		return err
	}
	say("starting node %s", n.name)
	if err := n.cuppa(ctx, "server", "start").do(); err != nil {
		return err
	}
	return do(ctx, nodes)
}

// addNode makes a machine on which no server runs yet.
func (c *cluster) addNode(ctx context.Context, name string) (*node, error) {
	n := &node{conformance: c.conformance, name: name, netns: "/run/netns/" + name, dir: filepath.Join(c.dir, name)}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		return nil, err
	}
	if err := c.command(ctx, "ip", "netns", "add", name).do(); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	return n, n.inside(ctx, "ip", "link", "set", "lo", "up").do()
}

// inside is a child in the node's network.
func (n *node) inside(ctx context.Context, args ...string) *task {
	t := n.command(ctx, "nsenter", append([]string{"--net=" + n.netns, "--"}, args...)...)
	t.Dir = n.dir
	t.Env = append(t.Env, "CUPPA_DATA_DIR="+n.data(), "CUPPA_RUN_DIR="+n.run(), "KUBECONFIG="+n.kubeconfig())
	return t
}

// cuppa is the program under test on this node, as a user types it.
func (n *node) cuppa(ctx context.Context, args ...string) *task {
	return n.inside(ctx, append([]string{n.conformance.cuppa}, args...)...)
}

// remove ends all nodes in order, and takes away by force, with a fault, what that left.
func (c *cluster) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.remove(ctx))
	}
	return errors.Join(append(errs, removeTree(c.dir))...)
}

func (n *node) remove(ctx context.Context) error {
	say("removing node %s", n.name)
	var errs []error
	if _, err := os.Stat(n.run()); err == nil {
		errs = append(errs, n.cuppa(ctx, "server", "stop", "--all").do())
	}
	errs = append(errs, leftovers(n.dir, n.run()))
	if err := n.command(ctx, "ip", "netns", "delete", n.name).do(); err != nil {
		errs = append(errs, fmt.Errorf("remove network namespace: %w", err))
	}
	return errors.Join(errs...)
}
