package criconfig

import (
	"bufio"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ResolvConf is a resolver configuration.
type ResolvConf struct{ Servers, Searches, Options []string }

// ParseResolvConf reads resolv.conf(5): the last search line counts, unknown lines do not.
func ParseResolvConf(r io.Reader) ResolvConf {
	var out ResolvConf
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(strings.SplitN(lines.Text(), "#", 2)[0])
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			out.Servers = append(out.Servers, fields[1])
		case "search", "domain":
			out.Searches = fields[1:]
		case "options":
			out.Options = append(out.Options, fields[1:]...)
		}
	}
	return out
}

// Limits of the resolver in common C libraries; what is beyond them would be ignored there.
const (
	maxServers  = 3
	maxSearches = 32
)

// DNS is the resolver configuration of a pod.
func DNS(node Node, pod *corev1.Pod) *runtimeapi.DNSConfig {
	out := base(node, pod)
	if extra := pod.Spec.DNSConfig; extra != nil {
		out.Servers = union(out.Servers, extra.Nameservers)
		out.Searches = union(out.Searches, extra.Searches)
		for _, option := range extra.Options {
			out.Options = slices.DeleteFunc(slices.Clone(out.Options), func(o string) bool {
				name, _, _ := strings.Cut(o, ":")
				return name == option.Name
			})
			text := option.Name
			if option.Value != nil && *option.Value != "" {
				text += ":" + *option.Value
			}
			out.Options = append(out.Options, text)
		}
	}
	out.Servers = out.Servers[:min(len(out.Servers), maxServers)]
	out.Searches = out.Searches[:min(len(out.Searches), maxSearches)]
	return &runtimeapi.DNSConfig{Servers: out.Servers, Searches: out.Searches, Options: out.Options}
}

func base(node Node, pod *corev1.Pod) ResolvConf {
	policy := pod.Spec.DNSPolicy
	cluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst || policy == "") && !pod.Spec.HostNetwork
	switch {
	case policy == corev1.DNSNone:
		return ResolvConf{}
	case cluster && len(node.ClusterDNS) > 0:
		domain := node.ClusterDomain
		searches := []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}
		return ResolvConf{
			Servers:  slices.Clone(node.ClusterDNS),
			Searches: union(searches, node.ResolvConf.Searches),
			Options:  []string{"ndots:5"},
		}
	default:
		return ResolvConf{
			Servers:  slices.Clone(node.ResolvConf.Servers),
			Searches: slices.Clone(node.ResolvConf.Searches),
			Options:  slices.Clone(node.ResolvConf.Options),
		}
	}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
