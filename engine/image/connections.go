package image

import (
	"crypto/sha256"
	"crypto/tls"
	"net/http"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// connections are those kept open to registries, so that one pull after another need not begin with a handshake. Its zero value is ready.
type connections struct {
	mu    sync.Mutex
	hosts map[string]connection
}

type connection struct {
	certificates [sha256.Size]byte // with which it was made
	transport    *http.Transport
}

// to returns the way to a host. It is made anew when other certificates are configured for it.
func (c *connections) to(host string, config *tls.Config, certificates [sha256.Size]byte) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, ok := c.hosts[host]
	if ok && kept.certificates == certificates {
		return kept.transport
	}
	if ok {
		kept.transport.CloseIdleConnections()
	}
	if c.hosts == nil {
		c.hosts = map[string]connection{}
	}
	made := connection{certificates, docker.DefaultHTTPTransport(config)}
	c.hosts[host] = made
	return made.transport
}

// close lets go of the connections that nothing uses just now.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kept := range c.hosts {
		kept.transport.CloseIdleConnections()
	}
}
