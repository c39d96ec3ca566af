// Package api holds Cuppa's own few constants and types: labels, annotations, gates, ports and defaults.
//
// Everything else in the API is Kubernetes's own. It has no behaviour.
package api

// Compose labels, on every object that belongs to a Compose project, and on its pods.
const (
	LabelProject = "compose.cuppa.dev/project" // project name; also the namespace's name
	LabelService = "compose.cuppa.dev/service" // service name
	LabelOneOff  = "compose.cuppa.dev/one-off" // "true" on pods of `run`
	LabelNumber  = "compose.cuppa.dev/number"  // container number, 1..N, set by the replicaset controller (see AnnotationNumbered)
)

// Annotations on workload objects.
const (
	// AnnotationNumbered on a pod template makes the replicaset controller number its pods 1..N without gaps (LabelNumber),
	// and remove the highest numbers first.
	AnnotationNumbered = "cuppa.dev/numbered"
	// AnnotationKeepFinished on a pod template makes finished pods count as replicas, so that a Compose service
	// with `restart: "no"` stays exited rather than being replaced.
	AnnotationKeepFinished = "cuppa.dev/keep-finished"
	// AnnotationDependsOn on a pod is JSON: [{"service":"db","condition":"service_healthy","required":false,"patience":90}]; required is true
	// if it is absent, and patience is in seconds. Together with the scheduling gate GateDependsOn it holds the pod back until every condition
	// is met, by pods of the version that the service's Deployment has now.
	AnnotationDependsOn = "compose.cuppa.dev/depends-on"
	GateDependsOn       = "compose.cuppa.dev/depends-on"
	// AnnotationImageID on a pod template is the image's: a new image behind the same name is a new version.
	AnnotationImageID = "compose.cuppa.dev/image-id"
	// AnnotationRecreate on a pod template counts how often the service was recreated without a change.
	AnnotationRecreate = "compose.cuppa.dev/recreate"
	// AnnotationConfigHash identifies the wanted state of one Compose service.
	AnnotationConfigHash = "compose.cuppa.dev/config-hash"
	// AnnotationStoppedReplicas on a Deployment remembers how many replicas `stop` took away.
	AnnotationStoppedReplicas = "compose.cuppa.dev/stopped-replicas"
	// AnnotationHostIP on a Service of type LoadBalancer is JSON: {"8000/TCP":"127.0.0.1"}, the host address each port is published on.
	AnnotationHostIP = "cuppa.dev/host-ip"
)

// ConditionPublished on a Service of type LoadBalancer says whether all its ports are open on the node; if not, the message names
// each port and who has it.
const ConditionPublished = "cuppa.dev/Published"

// What a pod asks of the node's engine beyond Kubernetes's own fields. Nobody but Compose's own identity may set, change or remove an
// annotation that begins with EnginePrefix; the one that exists holds a document of api/extras.
const (
	EnginePrefix     = "engine.cuppa.dev/"
	AnnotationExtras = EnginePrefix + "extras"
)

// Ports and paths.
const (
	APIServerPort = 6443
	KubeletPort   = 10250

	DataDir = "/var/lib/cuppa" // state that survives a reboot
	RunDir  = "/run/cuppa"     // sockets, namespaces, locks

	ComposeKubeconfig = "compose.kubeconfig" // in the run directory: Compose's own way to the API
)

// ClusterDomain is the DNS suffix of every Service.
const ClusterDomain = "cluster.local"

// Groups of the identities that parts of Cuppa have.
const (
	GroupMasters = "system:masters"
	GroupNodes   = "system:nodes"
	// GroupBootstrappers is the group of whoever may ask for the first certificate of a node.
	GroupBootstrappers = "system:bootstrappers"
	// GroupCompose is the group of Compose's front end on a server's own machine, the only one that may ask the engine for extras.
	GroupCompose = "cuppa:compose"
)

// ExtraNode is what a bootstrap credential says beside its name: the nodes whose first certificate it may ask for. Without it: any.
const ExtraNode = "cuppa.dev/node"

// VersionOf tells the versions of a Compose service apart, by the annotations of its pod template or of a pod.
func VersionOf(annotations map[string]string) string {
	return annotations[AnnotationConfigHash] + "/" + annotations[AnnotationImageID] + "/" + annotations[AnnotationRecreate]
}
