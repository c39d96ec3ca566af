package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/allocate"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/controller"
	"github.com/cuppa-project/cuppa/controller/lead"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/scheduler"
)

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// control is the control plane: etcd, the API server, and the loops.
type control struct {
	config  Config
	ranges  Ranges
	address net.IP // where others reach the API server
	certs   *certificates
	logger  *slog.Logger

	// token is what this server's own node joins with, in this process's memory alone. It serves for the first certificate of that node, as any
	// bootstrap credential does for another's.
	token string

	started chan struct{} // closed when url is set and the server is ready
	url     string        // at which this machine reaches the API
}

func newControl(config Config, ranges Ranges, address net.IP) (*control, error) {
	ca, err := pki.Open(filepath.Join(config.DataDir, "pki"))
	if err != nil {
		return nil, err
	}
	return &control{config: config, ranges: ranges, address: address, certs: &certificates{ca: ca, logger: config.Logger}, logger: config.Logger,
		token: rand.Text(), started: make(chan struct{})}, nil
}

// backend is etcd, embedded or somebody else's.
type backend interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Store() *etcd.Store
}

func (c *control) backend() (backend, error) {
	if len(c.config.EtcdServers) > 0 {
		return etcd.NewExternal(etcd.ExternalConfig{Endpoints: c.config.EtcdServers, CertFile: c.config.EtcdCert,
			KeyFile: c.config.EtcdKey, CAFile: c.config.EtcdCA, Logger: c.logger})
	}
	return etcd.NewEmbedded(etcd.EmbeddedConfig{Dir: filepath.Join(c.config.DataDir, "etcd"), Logger: c.logger})
}

// run serves until ctx ends. The store outlives the server, which writes until its last request is answered.
func (c *control) run(ctx context.Context) error {
	store, err := c.backend()
	if err != nil {
		return err
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	config, err := c.serverConfig(listener)
	if err != nil {
		listener.Close()
		return err
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	return run.Group(inner, store.Run, func(inner context.Context) error {
		defer cancel()
		select {
		case <-store.Ready():
		case <-ctx.Done():
			return listener.Close()
		case <-inner.Done():
			return listener.Close()
		}
		config.Store = store.Store()
		server, err := c.newServer(config)
		if err != nil {
			listener.Close()
			return err
		}
		return run.Group(ctx, server.Run,
			c.certs.run,
			func(ctx context.Context) error { return c.loops(ctx, server) })
	})
}

func (c *control) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", c.config.Listen)
	if err != nil {
		return nil, portError("the API", "--listen", c.config.Listen, err)
	}
	return listener, nil
}

func (c *control) serverConfig(listener net.Listener) (apiserver.Config, error) {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, c.ranges.API().AsSlice(), c.address}
	if own := localIP(listener.Addr()); !slices.ContainsFunc(ips, own.Equal) {
		ips = append(ips, own)
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + api.ClusterDomain, c.config.NodeName}
	serving, err := c.certs.issue(pki.Request{Name: "apiserver", CommonName: "kube-apiserver", DNSNames: names, IPs: ips, Server: true}, nil)
	if err != nil {
		return apiserver.Config{}, err
	}
	key, err := pki.SigningKey(filepath.Join(c.config.DataDir, "pki"), "service-accounts")
	if err != nil {
		return apiserver.Config{}, err
	}
	signing, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return apiserver.Config{}, fmt.Errorf("service account key: want an ECDSA key, have %T", key)
	}
	if c.url, err = localURL(listener.Addr()); err != nil {
		return apiserver.Config{}, err
	}
	if err := c.writeKubeconfigs(); err != nil {
		return apiserver.Config{}, err
	}
	return apiserver.Config{
		Listener: listener,
		TLS:      &tls.Config{GetCertificate: serving.GetCertificate, ClientCAs: c.certs.ca.Pool()},
		Tokens: []authn.Token{{Hash: authn.HashToken(c.token), User: authn.User{Name: "system:bootstrap:" + c.config.NodeName,
			Groups: []string{api.GroupBootstrappers}, Extra: map[string][]string{api.ExtraNode: {c.config.NodeName}}}}},
		AccountKey: signing,
		Logger:     c.logger,
	}, nil
}

// loops runs the controllers and the scheduler once the server is ready.
func (c *control) loops(ctx context.Context, server *apiserver.Server) error {
	select {
	case <-server.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := c.bootstrap(ctx, c.as("system:apiserver", api.GroupMasters)(server)); err != nil {
		return err
	}
	close(c.started)

	controllers, err := c.controllers(server)
	if err != nil {
		return err
	}
	view := c.as("system:kube-scheduler")(server)
	recorder := events.New(events.Config{Cluster: view, Component: "default-scheduler", Logger: c.logger})
	return run.Group(ctx, controllers, recorder.Run,
		scheduler.New(scheduler.Config{Cluster: view, Logger: c.logger.With("part", "scheduler"), Events: recorder}).Run)
}

// controllers runs the table of controllers on one server of the cluster at a time.
func (c *control) controllers(server *apiserver.Server) (run.Func, error) {
	metrics, err := loop.NewMetrics(server.Metrics().Registry)
	if err != nil {
		return nil, err
	}
	identity, err := identity(c.config.DataDir, c.config.NodeName)
	if err != nil {
		return nil, err
	}
	config := controller.Config{
		Cluster: func(name string) kube.Cluster { return c.as("system:controller:" + name)(server) },
		Logger:  c.logger,
		PodCIDR: c.ranges.Pods,
		RootCA:  c.certs.ca.PEM(),
		Sign:    c.certs.ca.Sign,
		Metrics: metrics,
	}
	return lead.New(lead.Config{
		Cluster: c.as("system:kube-controller-manager")(server), Namespace: metav1.NamespaceSystem, Name: "cuppa-controllers", Identity: identity,
		Parts: func() []run.Func { return controller.Parts(config) }, Logger: c.logger.With("part", "lead"),
	}), nil
}

// as returns how to get an identity's view of a server.
func (c *control) as(name string, groups ...string) func(*apiserver.Server) kube.Cluster {
	return func(s *apiserver.Server) kube.Cluster {
		return local.New(s, authn.User{Name: name, Groups: groups}, c.logger)
	}
}

// Kubeconfig is where the administrator's kubeconfig lies.
func Kubeconfig(dataDir string) string { return filepath.Join(dataDir, "admin.kubeconfig") }

// ComposeKubeconfig is where the kubeconfig of Compose's front end lies. It is in the run directory, for it is for this machine alone.
func ComposeKubeconfig(runDir string) string { return filepath.Join(runDir, api.ComposeKubeconfig) }

// writeKubeconfigs writes both, and writes them again whenever their certificates are renewed. Copies that were taken have to be taken anew then.
func (c *control) writeKubeconfigs() error {
	for _, k := range []struct{ name, group, path string }{
		{"admin", api.GroupMasters, Kubeconfig(c.config.DataDir)},
		{"compose", api.GroupCompose, ComposeKubeconfig(c.config.RunDir)},
	} {
		_, err := c.certs.issue(pki.Request{Name: k.name, CommonName: k.name, Organizations: []string{k.group}}, func(pair pki.Pair) error {
			raw, err := kubeconfig(c.url, c.certs.ca.PEM(), k.name, pair)
			if err != nil {
				return err
			}
			return keepFile(k.path, raw)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// localIP is at which address this machine reaches a listener: its own, or the loopback's if it listens on all of them.
func localIP(addr net.Addr) net.IP {
	if tcp, ok := addr.(*net.TCPAddr); ok && len(tcp.IP) > 0 && !tcp.IP.IsUnspecified() {
		return tcp.IP
	}
	return net.IPv4(127, 0, 0, 1)
}

func localURL(addr net.Addr) (string, error) {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", err
	}
	return "https://" + net.JoinHostPort(localIP(addr).String(), port), nil
}

// keepFile writes a secret file, unless it says so already.
func keepFile(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && string(have) == string(content) {
		return nil
	}
	return writeFile(path, content)
}

// newServer makes the API server with what it needs of others: addresses for Services, and a certificate towards kubelets.
func (c *control) newServer(config apiserver.Config) (*apiserver.Server, error) {
	addresses, err := allocate.New(allocate.Config{CIDRs: []netip.Prefix{c.ranges.Services}})
	if err != nil {
		return nil, err
	}
	config.Services = addresses
	client, err := c.certs.issue(pki.Request{Name: "kubelet-client", CommonName: "kube-apiserver-kubelet-client", Organizations: []string{api.GroupMasters}}, nil)
	if err != nil {
		return nil, err
	}
	config.Kubelets = &tls.Config{GetClientCertificate: client.GetClientCertificate, RootCAs: c.certs.ca.Pool()}
	server, err := apiserver.New(config)
	if err == nil {
		server.Metrics().Registry.MustRegister(c.certs)
	}
	return server, err
}
