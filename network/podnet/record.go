package podnet

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/network/netns"
)

// record is what is known of one pod's network, one small file each, so that a change costs the same on a full node.
type record struct {
	ID        string       `json:"id"`
	Namespace string       `json:"namespace,omitempty"`
	Name      string       `json:"name,omitempty"`
	Link      string       `json:"link"`
	NetNS     string       `json:"netns"`
	IPs       []netip.Addr `json:"ips"`
	HostPorts []HostPort   `json:"hostPorts,omitempty"`
}

func (r record) attachment() Attachment {
	return Attachment{NetNS: r.NetNS, Link: r.Link, IPs: slices.Clone(r.IPs)}
}

func (n *Net) nsDir() string     { return filepath.Join(n.cfg.RunDir, "netns") }
func (n *Net) recordDir() string { return filepath.Join(n.cfg.RunDir, "podnet") }

func (n *Net) recordPath(id string) string {
	return filepath.Join(n.recordDir(), strings.ReplaceAll(id, "/", "_")+".json")
}

func (n *Net) record(id string) (record, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec, ok := n.pods[id]
	return rec, ok
}

// remember writes the record before the kernel is touched, so that whatever is done after it is found again.
func (n *Net) remember(rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	path := n.recordPath(rec.ID)
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return fmt.Errorf("write pod record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write pod record: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[rec.ID] = rec
	return nil
}

func (n *Net) forget(id string) error {
	if err := os.Remove(n.recordPath(id)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove pod record: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, id)
	return nil
}

// find reads all records and makes the address pool agree with them: allocations of ids without a record are left over from
// a Setup that never got further, or from before a reboot.
func (n *Net) find() error {
	files, err := filepath.Glob(filepath.Join(n.recordDir(), "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read pod record: %w", err)
		}
		var rec record
		if json.Unmarshal(data, &rec) != nil || rec.ID == "" {
			n.cfg.Log.Error("pod record is damaged, dropped", "file", file)
			os.Remove(file)
			continue
		}
		if err := n.addrs.Hold(rec.ID, rec.IPs); err != nil {
			return fmt.Errorf("read pod record: %w", err)
		}
		n.pods[rec.ID] = rec
	}
	for id := range n.addrs.Held() {
		if _, ok := n.pods[id]; !ok {
			if err := n.addrs.Release(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// strays lists the namespace files that belong to no pod: ready ones of an earlier run, whole or half-made.
func (n *Net) strays() ([]string, error) {
	files, err := os.ReadDir(n.nsDir())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := map[string]bool{}
	for _, rec := range n.pods {
		taken[rec.NetNS] = true
	}
	for _, e := range n.ready {
		taken[e.path] = true
	}
	var strays []string
	for _, f := range files {
		path := filepath.Join(n.nsDir(), f.Name())
		if !taken[path] && strings.HasPrefix(f.Name(), n.cfg.LinkPrefix) {
			strays = append(strays, path)
		}
	}
	return strays, nil
}

// dropNamespace lets go of a namespace file that no pod uses.
func (n *Net) dropNamespace(path string) {
	if err := netns.Remove(path); err != nil {
		n.cfg.Log.Error("remove unused namespace", "path", path, "err", err)
	}
}
