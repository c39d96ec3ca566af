package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Hosts is what a pod's /etc/hosts says: the usual names, the pod's own, and its aliases. A pod on the host's network sees
// the host's file with the aliases added.
func Hosts(pod *corev1.Pod, hostFile string, ips []string, hostname, fqdn string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(hostFile)
		if !strings.HasSuffix(hostFile, "\n") {
			b.WriteByte('\n')
		}
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n")
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
		b.WriteString("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range ips {
			names := hostname
			if fqdn != "" && fqdn != hostname {
				names = fqdn + "\t" + hostname
			}
			fmt.Fprintf(&b, "%s\t%s\n", ip, names)
		}
	}
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

// WriteHosts writes a pod's hosts file and returns its path. It is written in place, never replaced, because containers
// have the file itself mounted.
func (k *Keeper) WriteHosts(pod *corev1.Pod, ips []string, hostname, fqdn string) (string, error) {
	hostFile := ""
	if pod.Spec.HostNetwork {
		data, err := os.ReadFile(etcHosts)
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("read the host's hosts file: %w", err)
		}
		hostFile = string(data)
	}
	path := filepath.Join(k.PodDir(pod.UID), "etc-hosts")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("write hosts file: %w", err)
	}
	want := Hosts(pod, hostFile, ips, hostname, fqdn)
	if have, err := os.ReadFile(path); err == nil && string(have) == want {
		return path, nil
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		return "", fmt.Errorf("write hosts file: %w", err)
	}
	return path, os.Chmod(path, 0o644)
}
