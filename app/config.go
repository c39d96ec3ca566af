// Package app is the composition root: it makes the parts, hands them to each other, and runs them as one.
//
// One file per role: server.go (control plane and an agent in one process), control.go (the control plane), agent.go (a node of a cluster, wherever
// its server is). Of the agent, join.go and serving.go get its certificates, and node.go has its parts. It is the only place where
// parts that must not know each other meet, and holds no logic of its own. Start with Server.
package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config is what `cuppa server` can be told. Zero values mean the defaults named.
type Config struct {
	DataDir string // state that survives a reboot; "": api.DataDir
	RunDir  string // sockets, locks, namespaces; "": api.RunDir

	NodeName string // "": the host name, in lower case
	NodeIP   string // "": the address of the default route's interface, or the node's own pod-side address
	Listen   string // of the API server; "": all addresses, port api.APIServerPort
	NoNode   bool   // control plane only

	EtcdServers               []string // use this etcd instead of the embedded one
	EtcdCert, EtcdKey, EtcdCA string   // files
	PodCIDR, ServiceCIDR      string   // "": chosen at the first start so that they overlap no route of this host, then kept
	KubeletListen             string   // "": all addresses, port api.KubeletPort
	Ready                     func()   // called once, when the API answers and the node takes pods; nil: nobody waits
	Logger                    *slog.Logger
	Version                   string
	Pprof                     string // loopback address that serves profiles; "": none
	ResolvConf                string // file with the resolvers for names outside the cluster; "": /etc/resolv.conf
	CgroupParent              string // "": "/cuppa-" and a hash of the run directory, "/cuppa" for the default one
}

func (c *Config) fill() error {
	if c.DataDir == "" {
		c.DataDir = api.DataDir
	}
	if c.RunDir == "" {
		c.RunDir = api.RunDir
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return err
	}
	if c.RunDir, err = filepath.Abs(c.RunDir); err != nil {
		return err
	}
	if c.NodeName == "" {
		if c.NodeName, err = os.Hostname(); err != nil {
			return fmt.Errorf("find the host's name (or name the node with --node-name): %w", err)
		}
	}
	c.NodeName = strings.ToLower(c.NodeName)
	if c.Listen == "" {
		c.Listen = fmt.Sprintf(":%d", api.APIServerPort)
	}
	if c.KubeletListen == "" {
		c.KubeletListen = fmt.Sprintf(":%d", api.KubeletPort)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CgroupParent == "" {
		c.CgroupParent = "/cuppa"
		if c.RunDir != api.RunDir {
			c.CgroupParent += "-" + shortHash(c.RunDir)
		}
	}
	return nil
}

// Ranges are the cluster's address ranges. They are chosen once: pods and Services carry addresses of them.
type Ranges struct {
	Pods, Services netip.Prefix
}

// DNS is the address at which every node answers its pods' DNS queries.
func (r Ranges) DNS() netip.Addr { return nth(r.Services, 10) }

// API is the cluster IP of the default/kubernetes Service.
func (r Ranges) API() netip.Addr { return nth(r.Services, 1) }

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// ranges returns the ranges of an earlier start, or settles them: what the configuration says, else what choose finds free.
func (c *Config) ranges(choose func() (Ranges, error)) (Ranges, error) {
	path := filepath.Join(c.DataDir, "ranges.json")
	raw, err := os.ReadFile(path)
	if err == nil {
		var r Ranges
		if err := json.Unmarshal(raw, &r); err != nil {
			return r, errkind.New(errkind.Invalid, "the address ranges in %s cannot be read: %w; restore the file from a backup, or remove it and start with the --pod-cidr and --service-cidr of the first start (without them, if there were none)", path, err)
		}
		return r, c.sameRanges(r)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Ranges{}, err
	}
	r, err := choose()
	if err != nil {
		return r, err
	}
	for _, s := range []struct {
		flag, value string
		into        *netip.Prefix
	}{{"--pod-cidr", c.PodCIDR, &r.Pods}, {"--service-cidr", c.ServiceCIDR, &r.Services}} {
		if s.value == "" {
			continue
		}
		if *s.into, err = netip.ParsePrefix(s.value); err != nil {
			return r, errkind.New(errkind.Invalid, "%s: %w", s.flag, err)
		}
	}
	raw, err = json.Marshal(r)
	if err != nil {
		return r, err
	}
	return r, atomicfile.Write(path, raw, 0o644)
}

// sameRanges refuses to change ranges under the feet of what runs.
func (c *Config) sameRanges(r Ranges) error {
	for _, s := range []struct {
		flag, value string
		have        netip.Prefix
	}{{"--pod-cidr", c.PodCIDR, r.Pods}, {"--service-cidr", c.ServiceCIDR, r.Services}} {
		if s.value != "" && s.value != s.have.String() {
			return errkind.New(errkind.Precondition, "%s %s: this cluster was made with %s; leave the flag out, or begin with an empty --data-dir", s.flag, s.value, s.have)
		}
	}
	return nil
}
