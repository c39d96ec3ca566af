package kubelet

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
)

// Config is what a node agent needs.
type Config struct {
	NodeName string       // required
	Cluster  kube.Cluster // required: the API, as this node
	Runtime  cri.RuntimeService
	Images   cri.ImageManagerService
	Streamer Streamer // nil: no exec, attach and port-forward
	Extender Extender // nil: containers that ask for extras are refused

	DataDir string // state that survives a reboot: pods, logs
	RunDir  string // state that does not; it should be in memory, since secrets are written there

	NodeIPs       []string          // the node's addresses, the first is the main one; required
	Labels        map[string]string // beside the usual ones
	Taints        []corev1.Taint    // a new Node begins with them
	PodCIDR       string            // a new Node begins with it; empty: somebody else assigns it
	ClusterDNS    []string          // where pods send their DNS questions; empty: where the host does
	ClusterDomain string            // default "cluster.local"
	ResolvConf    string            // the host's resolver configuration; default /etc/resolv.conf

	CgroupRoot string              // the cgroup below which pods live; default "cuppa"
	NoCPUQuota bool                // leave cpu limits unenforced
	Capacity   corev1.ResourceList // default: measured
	Reserved   corev1.ResourceList // what pods cannot have of it; default 100 MiB of memory
	MaxPods    int64               // default 250

	ServerAddr string      // where the server listens; default ":10250"; "-": nowhere
	ServerTLS  *tls.Config // with a certificate and the client CA; required unless ServerAddr is "-"

	Version string // default "v1.37.2": the Kubernetes version whose behaviour this is
	Logger  *slog.Logger
}

const defaultVersion = "v1.37.2"

// complete checks a Config and fills in defaults.
func (c *Config) complete() error {
	switch {
	case c.NodeName == "":
		return errkind.New(errkind.Invalid, "kubelet: NodeName is required")
	case c.Cluster == nil || c.Runtime == nil || c.Images == nil:
		return errkind.New(errkind.Invalid, "kubelet: Cluster, Runtime and Images are required")
	case c.DataDir == "" || c.RunDir == "":
		return errkind.New(errkind.Invalid, "kubelet: DataDir and RunDir are required")
	case len(c.NodeIPs) == 0:
		return errkind.New(errkind.Invalid, "kubelet: NodeIPs is required: pods on the host's network and the API server need the node's address")
	}
	set(&c.ClusterDomain, api.ClusterDomain)
	set(&c.ResolvConf, "/etc/resolv.conf")
	set(&c.CgroupRoot, "cuppa")
	set(&c.ServerAddr, ":10250")
	set(&c.Version, defaultVersion)
	if c.MaxPods == 0 {
		c.MaxPods = 250
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ServerAddr != noServer && (c.ServerTLS == nil || c.ServerTLS.ClientCAs == nil) {
		return errkind.New(errkind.Invalid, "kubelet: ServerTLS with ClientCAs is required to serve logs and exec at %s", c.ServerAddr)
	}
	return nil
}

// noServer as an address means that there is no server.
const noServer = "-"

func set(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func (c *Config) podsDir() string { return filepath.Join(c.DataDir, "pods") }
func (c *Config) logDir() string  { return filepath.Join(c.DataDir, "log", "pods") }

func (c *Config) makeDirs() error {
	for _, dir := range []string{c.podsDir(), c.logDir(), filepath.Join(c.RunDir, "pods")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	return nil
}

// labels are the ones every node has, with the configured ones.
func (c *Config) labels() map[string]string {
	out := map[string]string{
		corev1.LabelHostname:      c.NodeName,
		corev1.LabelArchStable:    runtime.GOARCH,
		corev1.LabelOSStable:      runtime.GOOS,
		"beta.kubernetes.io/arch": runtime.GOARCH,
		"beta.kubernetes.io/os":   runtime.GOOS,
	}
	for key, value := range c.Labels {
		out[key] = value
	}
	return out
}
