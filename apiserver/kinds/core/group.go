// Package core has the kinds of the group without a name, version v1. Start with Kinds; each kind has the files that docs/howto/add-a-kind.md names.
package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func coreKind(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }

// Kinds is the group without a name, version v1, by resource name.
func Kinds(config Config) []*registry.Kind {
	return []*registry.Kind{
		configMaps(),
		endpoints(),
		coreEvents(),
		namespaces(),
		nodes(),
		pods(),
		podTemplates(),
		replicationControllers(),
		secrets(),
		serviceAccounts(),
		services(config),
	}
}

// Config is what a cluster may choose about its kinds. The zero value is a single-stack IPv4 cluster.
type Config struct {
	// IPFamilies are the families of the cluster's Service addresses, the preferred one first. Empty: IPv4 alone.
	IPFamilies []corev1.IPFamily
}

func (c Config) families() []corev1.IPFamily {
	if len(c.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return c.IPFamilies
}
