// Package proxy makes Services work: it turns Services and their endpoints into nftables maps and keeps the kernel's in step.
//
// It opens no ports and resolves no names, and it does not watch the API: network/agent feeds it plain values. No chain belongs to a
// Service; there is one chain per number of endpoints, so a change touches a few map elements however many Services there are.
// Start with Service and Proxy.Sync; table.go has the rules, compile.go what a Service becomes, plan.go what a change becomes.
package proxy

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Service is one Service with its endpoints. A Service without addresses and ports of the node (headless) becomes nothing.
type Service struct {
	Name string // namespace/name
	// Rank decides who gets an address and port that several claim: the lowest, then the first name.
	Rank int64
	// ClusterIPs are the addresses in the service range.
	ClusterIPs []netip.Addr
	// ExternalIPs are further addresses, the node's or not, that the ports answer on.
	ExternalIPs []netip.Addr
	// Affinity keeps a client at one endpoint until it has been away for this long. 0: none.
	Affinity time.Duration
	// InternalLocal and ExternalLocal use this node's endpoints only, for traffic to cluster addresses or from outside.
	InternalLocal, ExternalLocal bool
	Ports                        []Port
}

// Port is one port of a Service.
type Port struct {
	Protocol Protocol
	Port     uint16
	NodePort uint16 // on all addresses of the node; 0: none
	// Published says that Port itself is open on the node: on all its addresses, or on PublishedOn if given.
	Published   bool
	PublishedOn []netip.Addr
	Endpoints   []Endpoint
}

// Endpoint is one place that a port leads to.
type Endpoint struct {
	netip.AddrPort
	Local       bool // on this node
	Ready       bool
	Serving     bool // answers, even if it is terminating
	Terminating bool
}

// Protocol is a transport protocol by its number.
type Protocol uint8

// The protocols of Services.
const (
	TCP  Protocol = unix.IPPROTO_TCP
	UDP  Protocol = unix.IPPROTO_UDP
	SCTP Protocol = unix.IPPROTO_SCTP
)

// ParseProtocol reads the API's spelling; "" is TCP.
func ParseProtocol(s string) (Protocol, error) {
	switch s {
	case "TCP", "":
		return TCP, nil
	case "UDP":
		return UDP, nil
	case "SCTP":
		return SCTP, nil
	}
	return 0, errkind.New(errkind.Invalid, "protocol %q: want TCP, UDP or SCTP", s)
}

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// usable chooses the endpoints that connections go to: the ready ones; if there are none, those that are shutting down but
// still answer, so that a roll-out loses nothing.
func usable(all []Endpoint, localOnly bool) []Endpoint {
	var ready, last []Endpoint
	for _, e := range all {
		switch {
		case localOnly && !e.Local:
		case e.Ready && !e.Terminating:
			ready = append(ready, e)
		case e.Serving && e.Terminating:
			last = append(last, e)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return last
}
