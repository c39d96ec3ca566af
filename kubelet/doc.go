// Package kubelet is the node agent: it takes the pods bound to its node from their spec to running containers and to their
// end, and tells the API what it sees.
//
// It is not a container runtime (that is whatever stands behind the CRI interfaces in Config) and not a network (the runtime
// sets up sandboxes). Start with kubelet.go, which starts every part; then podworker/plan.go, where every decision about a pod is
// made by one pure function; then podworker/worker.go, which carries the decisions out.
package kubelet
