// Package kinds is THE table of resource kinds that the API server serves from its start.
//
// One folder per API group, one row per kind: names, scope, defaulting, validation, preparation, columns, selectable fields and
// subresources. Storage paths, discovery, OpenAPI paths, RBAC names, server-side tables and the command line's printing all derive from
// it. It does no I/O and knows no HTTP: every hook is a pure function of objects. What a row is, package registry says; what the
// kinds share is in meta, check, podspec and workload. Start with New.
package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/apps"
	"github.com/cuppa-project/cuppa/apiserver/kinds/authentication"
	"github.com/cuppa-project/cuppa/apiserver/kinds/authorization"
	"github.com/cuppa-project/cuppa/apiserver/kinds/certificates"
	"github.com/cuppa-project/cuppa/apiserver/kinds/coordination"
	"github.com/cuppa-project/cuppa/apiserver/kinds/core"
	"github.com/cuppa-project/cuppa/apiserver/kinds/discovery"
	"github.com/cuppa-project/cuppa/apiserver/kinds/events"
	"github.com/cuppa-project/cuppa/apiserver/kinds/networking"
	"github.com/cuppa-project/cuppa/apiserver/kinds/node"
	"github.com/cuppa-project/cuppa/apiserver/kinds/policy"
	"github.com/cuppa-project/cuppa/apiserver/kinds/scheduling"
	"github.com/cuppa-project/cuppa/apiserver/kinds/storage"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Config is what a cluster may choose about its kinds. The zero value is a single-stack IPv4 cluster.
type Config struct {
	// IPFamilies are the families of the cluster's Service addresses, the preferred one first. Empty: IPv4 alone.
	IPFamilies []corev1.IPFamily
}

// All returns the table of every kind that is served, for a cluster with the default Config.
func All() *registry.Snapshot { return New(Config{}) }

// New returns the table of every kind that is served, as the first snapshot of a registry. The order is that of discovery: core first, then the groups by
// name, then kinds by resource name within their group.
func New(config Config) *registry.Snapshot {
	snapshot, err := registry.NewSnapshot(slices.Concat(
		core.Kinds(core.Config{IPFamilies: config.IPFamilies}),
		apps.Kinds(),
		authentication.Kinds(),
		authorization.Kinds(),
		certificates.Kinds(),
		coordination.Kinds(),
		discovery.Kinds(),
		events.Kinds(),
		networking.Kinds(),
		node.Kinds(),
		policy.Kinds(),
		scheduling.Kinds(),
		storage.Kinds(),
	))
	if err != nil {
		panic(err) // the rows of the program itself do not go together; no input brings this about
	}
	return snapshot
}
