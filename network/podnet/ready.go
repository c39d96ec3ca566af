package podnet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/cuppa-project/cuppa/network/netns"
)

// entry is a namespace with its link, everything done that does not depend on the pod's addresses. Making one costs milliseconds and
// kernel-wide locks, attaching one to a pod a fraction of a millisecond; hence the pool.
type entry struct {
	link string // host side; also the namespace file's name and, as hex digits, the pod side's hardware address
	path string
	pod  *netlink.Handle // inside the namespace; nil if not opened yet
}

func (e *entry) close() {
	if e.pod != nil {
		e.pod.Close()
		e.pod = nil
	}
}

// newName is unique for good: a link's name lives on for a while after its namespace was let go.
func newName(prefix string) string {
	var b [5]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

// podMAC is the hardware address of the pod's side, known from the name alone, so that the neighbour entry can be restored
// without asking the pod.
func podMAC(prefix, link string) (net.HardwareAddr, error) {
	b, err := hex.DecodeString(link[min(len(prefix), len(link)):])
	if err != nil || len(b) != 5 {
		return nil, fmt.Errorf("link name %q is not one of ours", link)
	}
	return append(net.HardwareAddr{0x06}, b...), nil
}

// Run keeps ready namespaces in store and cleans up after pods that have gone, until ctx ends. What is ready then stays, and is
// found again by the next Run.
func (n *Net) Run(ctx context.Context) error {
	if err := n.prepare(); err != nil {
		return err
	}
	for {
		if gone := n.takeDeparted(); len(gone) > 0 {
			if err := n.forgetConnections(gone); err != nil {
				n.cfg.Log.Error("forget connections of pods that have gone", "err", err)
			}
		}
		n.mu.Lock()
		missing := n.cfg.Ready - len(n.ready)
		n.mu.Unlock()
		if missing > 0 && ctx.Err() == nil {
			e, err := n.make()
			if err == nil {
				n.mu.Lock()
				n.ready = append(n.ready, e)
				n.mu.Unlock()
				continue
			}
			// A Setup that needs one makes its own and reports the reason; here it is only lost speed.
			n.cfg.Log.Error("make ready pod namespace", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		}
	}
}

// signal has Run look again.
func (n *Net) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// takeReady returns a ready namespace, or makes one.
func (n *Net) takeReady() (*entry, error) {
	n.mu.Lock()
	var e *entry
	if len(n.ready) > 0 {
		e = n.ready[0]
		n.ready = n.ready[1:]
	}
	n.mu.Unlock()
	n.signal()
	if e != nil {
		return e, nil
	}
	return n.make()
}

func (n *Net) make() (*entry, error) {
	name := newName(n.cfg.LinkPrefix)
	e := &entry{link: name, path: filepath.Join(n.nsDir(), name)}
	ns, err := netns.Create(e.path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := n.furnish(e, ns); err != nil {
		n.drop(e)
		return nil, err
	}
	return e, nil
}

// drop lets go of an entry that no pod uses.
func (n *Net) drop(e *entry) {
	e.close()
	n.dropNamespace(e.path)
}

// adoptReady takes over whole entries of an earlier run and drops half-made ones.
func (n *Net) adoptReady() error {
	strays, err := n.strays()
	if err != nil {
		return err
	}
	for _, path := range strays {
		e := &entry{link: filepath.Base(path), path: path}
		if err := n.inspect(e); err != nil {
			if !errors.Is(err, errNotWhole) {
				return err
			}
			n.drop(e)
			continue
		}
		n.mu.Lock()
		n.ready = append(n.ready, e)
		n.mu.Unlock()
	}
	return nil
}
