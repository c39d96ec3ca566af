// Package dns answers pods' questions: names of the cluster from memory, all others from the host's resolvers.
//
// It does not watch the API: network/agent gives it plain Services, directly or, when the server is a process of its own that outlives the
// agent, over a unix socket (feed.go). Answers are kept packed, so that one is little more than a copy; nothing here depends on a DNS
// library. Start with Zone and Server; records.go says which names a Service has.
package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// TTL of all records of the cluster, in seconds: endpoints come and go.
const TTL = 5

// Service is what the names of one Service are made of.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Aliases are further names in the namespace for the same answers.
	Aliases []string `json:"aliases,omitempty"`
	// ClusterIPs answer for the Service; a Service without any is headless, and its Endpoints answer.
	ClusterIPs []netip.Addr `json:"clusterIPs,omitempty"`
	// ExternalName makes the Service's name stand for another one.
	ExternalName string     `json:"externalName,omitempty"`
	Ports        []Port     `json:"ports,omitempty"`
	Endpoints    []Endpoint `json:"endpoints,omitempty"`
}

// Port is a named port; ports without a name have no record.
type Port struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"` // TCP, UDP or SCTP
	Port     uint16 `json:"port"`
}

// Endpoint is one pod of a headless Service.
type Endpoint struct {
	Addr     netip.Addr `json:"addr"`
	Hostname string     `json:"hostname,omitempty"`
	Ports    []Port     `json:"ports,omitempty"`
}

// Key is how a Service is called in updates.
func (s *Service) Key() string { return s.Namespace + "/" + s.Name }

// name is a domain name in the form it has in messages, lower case: lengths and labels, ending with the root.
type name string

const root name = "\x00"

// parseName reads the dotted form.
func parseName(dotted string) (name, error) {
	dotted = strings.TrimSuffix(strings.ToLower(dotted), ".")
	if dotted == "" {
		return root, nil
	}
	n := root
	labels := strings.Split(dotted, ".")
	slices.Reverse(labels)
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return "", errkind.New(errkind.Invalid, "domain name %q: a label must have 1 to 63 characters", dotted)
		}
		n = n.under(l)
	}
	if len(n) > 255 {
		return "", errkind.New(errkind.Invalid, "domain name %q is longer than 255 characters", dotted)
	}
	return n, nil
}

// under puts a label in front.
func (n name) under(label string) name {
	return name([]byte{byte(len(label))}) + name(strings.ToLower(label)) + n
}

// String is the dotted form.
func (n name) String() string {
	var labels []string
	for len(n) > 0 && n[0] != 0 && int(n[0]) < len(n) {
		labels = append(labels, string(n[1:1+n[0]]))
		n = n[1+n[0]:]
	}
	return strings.Join(labels, ".") + "."
}

// labels splits off the labels in front of a suffix; ok is false if the name does not end with it.
func (n name) labels(suffix name) (labels []string, ok bool) {
	for len(n) > len(suffix) {
		l := int(n[0])
		labels = append(labels, string(n[1:1+l]))
		n = n[1+l:]
	}
	return labels, n == suffix
}
