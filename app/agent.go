package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/remote"
)

// door is how an agent gets to its cluster: all that it is told of the server.
type door struct {
	server string // URL
	ca     []byte // PEM: whom to believe, as the server and as the kubelet's clients
	token  string // a bootstrap credential: serves for the first certificate, and when that has become void
}

// agent is one node of a cluster. It has the API by HTTPS alone, with certificates that it asked for; a server's own node is no different.
type agent struct {
	config  Config
	ranges  Ranges
	address net.IP
	certs   *certificates // for their figures
	logger  *slog.Logger
	// door waits until the cluster can be reached; false: ctx ended.
	door func(ctx context.Context) (door, bool)
}

// run opens the node, which needs no cluster, then joins and takes part until ctx ends.
func (a *agent) run(ctx context.Context) error {
	n, err := openNode(ctx, a.config, a.ranges, a.address)
	if err != nil {
		return ended(ctx, err)
	}
	if door, ok := a.door(ctx); ok {
		err = a.join(ctx, n, door)
	}
	return errors.Join(err, n.close())
}

// join takes part in the cluster behind a door. What the node reads and writes by lasts until its parts have ended.
func (a *agent) join(ctx context.Context, n *node, door door) error {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(door.ca) {
		return errkind.New(errkind.Invalid, "join %s: the certificates of its authority cannot be read", door.server)
	}
	c := newCredentials(a.config, door, pool, a.logger.With("part", "certificates"))
	defer c.close()
	if err := c.join(ctx); err != nil {
		return ended(ctx, err)
	}
	a.certs.show(c.client)
	cluster, err := remote.New(remote.Config{REST: c.rest(), Selectors: map[schema.GroupVersionResource]fields.Selector{
		kube.Pods: fields.OneTermEqualSelector("spec.nodeName", a.config.NodeName)}})
	if err != nil {
		return err
	}
	serving := newServing(c, cluster, a.certs)
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	return run.Group(inner, cluster.Run, c.client.Run, func(inner context.Context) error {
		defer cancel()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		context.AfterFunc(inner, stop)
		// Who reads them later takes them for whole.
		if err := cluster.Await(ctx, kube.Nodes, kube.Pods, kube.Services, kube.EndpointSlices); err != nil {
			return ended(ctx, err)
		}
		return run.Group(ctx, serving.run,
			func(ctx context.Context) error {
				return n.run(ctx, cluster, &tls.Config{GetCertificate: serving.GetCertificate, ClientCAs: pool})
			},
			func(ctx context.Context) error { return n.announce(ctx, cluster) })
	})
}

// ended is err, unless it only says that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// announce tells whoever started the server that it is ready: the API answers, the node takes pods and serves Services. It lasts as
// long as the node.
func (n *node) announce(ctx context.Context, cluster kube.Cluster) error {
	select {
	case <-n.served:
		if n.config.Ready != nil && awaitNode(ctx, cluster, n.config.NodeName) == nil {
			n.config.Ready()
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

// How a connection to the API is found dead: by a question after so long without a word, and so long without an answer.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	dialTimeout = 10 * time.Second
)

// wire is the way to the API: one HTTP/2 connection for everything.
type wire struct {
	transport *http.Transport
	dialer    *connrotation.Dialer
}

// newWire returns a way to servers that the pool vouches for, with the client's certificate, if there is one.
func newWire(pool *x509.CertPool, client func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *wire {
	w := &wire{dialer: connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}).DialContext)}
	w.transport = &http.Transport{
		DialContext:         w.dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: pool, GetClientCertificate: client, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // much work for little, and none at all on the loopback
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return w
}

// close ends all connections; a later request makes a new one.
func (w *wire) close() {
	w.dialer.CloseAll()
	w.transport.CloseIdleConnections()
}

// rest is the client's configuration for this wire. A token may stand in for a certificate.
func (w *wire) rest(server, token string) *rest.Config {
	return &rest.Config{Host: server, Transport: w.transport, BearerToken: token, UserAgent: "cuppa-agent"}
}
