// Package controller is the table of all controllers.
//
// Each lives in a folder of its own and imports none of the others; loop is what they share. A controller is a pure
// plan and a thin shell (see loop). To add one: docs/howto/add-a-controller.md.
package controller

import (
	"log/slog"
	"net/netip"

	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/controller/certificate"
	"github.com/cuppa-project/cuppa/controller/dependency"
	"github.com/cuppa-project/cuppa/controller/deployment"
	"github.com/cuppa-project/cuppa/controller/disruption"
	"github.com/cuppa-project/cuppa/controller/endpoints"
	"github.com/cuppa-project/cuppa/controller/endpointslice"
	"github.com/cuppa-project/cuppa/controller/endpointslicemirroring"
	"github.com/cuppa-project/cuppa/controller/garbage"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/controller/namespace"
	"github.com/cuppa-project/cuppa/controller/nodeipam"
	"github.com/cuppa-project/cuppa/controller/nodelifecycle"
	"github.com/cuppa-project/cuppa/controller/replicaset"
	"github.com/cuppa-project/cuppa/controller/replication"
	"github.com/cuppa-project/cuppa/controller/serviceaccount"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

// Config is what the controllers need to know of their cluster.
type Config struct {
	// Cluster gives each controller its view of the API under its own identity; name is the controller's.
	Cluster func(name string) kube.Cluster
	Logger  *slog.Logger
	Clock   clock.Clock      // nil: the real one
	PodCIDR netip.Prefix     // the cluster's pod range
	RootCA  []byte           // the cluster's CA, PEM
	Sign    certificate.Sign // with the cluster's CA; nil: certificates are signed elsewhere
	Metrics *loop.Metrics    // nil: none
}

// Controller is one row of the table.
type Controller struct {
	Name string // also its identity: system:serviceaccount:kube-system:NAME-controller
	New  func(loop.Deps, Config) run.Func
}

func plain(f func(loop.Deps) run.Func) func(loop.Deps, Config) run.Func {
	return func(deps loop.Deps, _ Config) run.Func { return f(deps) }
}

// All is the table. The order has no meaning: every controller is level-triggered and none waits for another.
func All() []Controller {
	return []Controller{
		{"namespace", plain(namespace.New)},
		{"serviceaccount", func(d loop.Deps, c Config) run.Func { return serviceaccount.New(d, c.RootCA) }},
		{"garbage", plain(garbage.New)},
		{"deployment", plain(deployment.New)},
		{"replicaset", plain(replicaset.New)},
		{"replication", plain(replication.New)},
		{"endpoints", plain(endpoints.New)},
		{"endpointslice", plain(endpointslice.New)},
		{"endpointslicemirroring", plain(endpointslicemirroring.New)},
		{"nodelifecycle", plain(nodelifecycle.New)},
		{"nodeipam", func(d loop.Deps, c Config) run.Func { return nodeipam.New(d, c.PodCIDR) }},
		{"dependency", plain(dependency.New)},
		{"disruption", plain(disruption.New)},
		{"certificate", func(d loop.Deps, c Config) run.Func { return certificate.New(d, c.Sign) }},
	}
}

// Parts makes all controllers, ready to run, with what writes their events. Each records under upstream's name for it.
func Parts(config Config) []run.Func {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	var out []run.Func
	for _, c := range All() {
		logger, view := config.Logger.With("controller", c.Name), config.Cluster(c.Name)
		recorder := events.New(events.Config{Cluster: view, Component: c.Name + "-controller", Clock: config.Clock, Logger: logger})
		deps := loop.Deps{Cluster: view, Logger: logger, Clock: config.Clock, Events: recorder, Metrics: config.Metrics}
		out = append(out, recorder.Run, c.New(deps, config))
	}
	return out
}
