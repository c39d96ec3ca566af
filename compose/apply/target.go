// Package apply carries plans out: it changes the cluster, watches what comes of it, and reports each step as it happens.
//
// Target is all it needs of a cluster: a handful of reads, writes and watches. Cluster (cluster.go) is the real one, over plain HTTP requests
// to the Kubernetes API; applytest has one in memory that keeps the rules. What to do was decided in compose/plan; how it looks on a screen is
// the CLI's business. Everything here may be interrupted anywhere: the next `up` or `down` finishes the job. Start with Up and Down.
package apply

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/compose/plan"
)

// Target is a cluster as this package needs it. Errors are API status errors.
type Target interface {
	// State reads what runs of a project. Parts that are not asked for stay empty.
	State(ctx context.Context, namespace string, parts Parts) (*plan.State, error)
	// Apply makes the object so, by server-side apply, whether it exists or not.
	Apply(ctx context.Context, obj plan.Object) error
	// Patch merges JSON into an object.
	Patch(ctx context.Context, kind, namespace, name string, merge []byte) error
	// Create makes a new object; it fails if the name is taken.
	Create(ctx context.Context, obj plan.Object) error
	// Delete deletes an object, and what it owns in the background. It is no error if there is none. A nil grace is the object's own.
	Delete(ctx context.Context, kind, namespace, name string, grace *int64) error
	// WatchPods calls fn with the pods of a namespace as they are, then with every change, until fn returns false or ctx ends.
	WatchPods(ctx context.Context, namespace string, fn func(PodEvent) bool) error
	// WaitGone blocks until the object does not exist.
	WaitGone(ctx context.Context, kind, namespace, name string) error
	// Logs opens the log of a pod's container.
	Logs(ctx context.Context, pod *corev1.Pod, opts corev1.PodLogOptions) (io.ReadCloser, error)
}

// Parts selects what State reads. Namespace and Services of other projects cost a request each, like all the others.
type Parts struct {
	Namespace, Deployments, Services, Files, Pods bool
	// AllServices reads the Services of all namespaces, and notes the ports that others publish.
	AllServices bool
}

// Everything is what `up` looks at.
func Everything() Parts {
	return Parts{Namespace: true, Deployments: true, Services: true, Files: true, Pods: true, AllServices: true}
}

// PodEvent is one change that a watcher sees.
type PodEvent struct {
	Pod     *corev1.Pod // nil when Synced
	Deleted bool
	Synced  bool // all pods present at the beginning have been seen
}

// Event is one line of progress.
type Event struct {
	Object string // "Container shop-web-1"
	Status string // "Creating"
	Detail string // an error's text
	State  State
}

// State is how far the object of an event is.
type State int

// The states.
const (
	Working State = iota
	Done
	Failed
)

// Report takes progress. It is called from one goroutine at a time.
type Report func(Event)

// Projects is a Target that can list the namespaces of all Compose projects.
type Projects interface {
	Projects(ctx context.Context) ([]*corev1.Namespace, error)
}
