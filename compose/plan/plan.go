// Package plan decides what `up` has to do: from a project and what runs now it makes the list of objects to apply, scale and delete, and what
// happens to each container.
//
// It is pure: no clock, no network, no random, no file. A Plan prints itself, and the golden files under testdata are read like that. Carrying
// a plan out is compose/apply's business, building and pulling the CLI's. Start with Up; Desired (desired.go) is the mapping from Compose to
// Kubernetes, service.go, pod.go, volumes.go and network.go its parts.
package plan

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

// Annotations and labels that only the Compose front end reads.
const (
	annotationHash          = api.AnnotationConfigHash
	annotationImageID       = api.AnnotationImageID
	annotationRecreate      = api.AnnotationRecreate
	AnnotationLabels        = "compose.cuppa.dev/labels"      // JSON of the service's labels, also of those Kubernetes would refuse
	AnnotationImageConfig   = "compose.cuppa.dev/image"       // on Deployments: JSON of Shown
	AnnotationWorkingDir    = "compose.cuppa.dev/working-dir" // on Namespaces
	AnnotationFiles         = "compose.cuppa.dev/config-files"
	AnnotationVolumes       = "compose.cuppa.dev/volumes"            // on Namespaces: JSON list of the project's own volumes
	AnnotationAfter         = "compose.cuppa.dev/after"              // on Deployments: JSON list of the services it depends on
	AnnotationContainerName = "compose.cuppa.dev/container-name"     // on pods
	AnnotationStopped       = "compose.cuppa.dev/stopped-containers" // on Deployments: JSON, number -> Stopped
	LabelRunService         = "compose.cuppa.dev/run-service"
	labelManagedBy          = "app.kubernetes.io/managed-by"
	managedBy               = "cuppa-compose"
)

// Stopped is what is remembered of a container that `stop` has ended.
type Stopped struct {
	ExitCode int32       `json:"code"`
	At       metav1.Time `json:"at"`
	ID       string      `json:"id,omitempty"`
}

// Shown is what `ps` shows of a container without asking the engine.
type Shown struct {
	Image   string   `json:"image"`
	Command []string `json:"command,omitempty"`
	Ports   []string `json:"ports,omitempty"` // exposed, "6379/tcp"
}

// Object is any API object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Options are the wishes of one `up`.
type Options struct {
	Services      []string       // selected on the command line; none means all
	NoDeps        bool           // neither start dependencies nor wait for them
	Scale         map[string]int // --scale
	ForceRecreate bool
	NoRecreate    bool
	RemoveOrphans bool
	NoStart       bool
	VolumeRoot    string           // folder of named volumes on the node
	Images        map[string]Image // by full reference
	FreePorts     []int32          // for ports published without a number
}

// The verbs of a step.
const (
	Apply     = "apply"
	Scale     = "scale"
	Delete    = "delete"
	DeletePod = "delete-pod"
)

// Step is one change of the cluster. Steps are in an order that is safe to stop after any of them: the next plan has the rest.
type Step struct {
	Verb     string
	Kind     string
	Name     string
	Object   Object // for Apply
	Replicas int32  // for Scale
	Grace    *int64 // for DeletePod; nil is the pod's own
	Why      string
}

// The fates of a container.
const (
	Keep     = "keep"
	Create   = "create"
	Recreate = "recreate"
	Start    = "start"
	Restart  = "restart"
	Remove   = "remove"
)

// Container is what happens to one container.
type Container struct {
	Name    string // project-service-number
	Service string
	Number  int
	Change  string
	Version string // what VersionOf says of a pod that is as wanted
}

// VersionOf tells the versions of a service's pods apart.
func VersionOf(annotations map[string]string) string {
	return api.VersionOf(annotations)
}

// Plan is the result.
type Plan struct {
	Project    string
	Namespace  string
	NewProject bool
	Services   []string // affected, with dependencies
	NewVolumes []string // real names of volumes this project has not had so far
	Steps      []Step
	Containers []Container
	Orphans    []string // containers of services the file does not have
	Warnings   []string
}

// Up plans what makes the project run as its file says. Problems found here are of the kind Invalid; nothing has been changed then.
func Up(p *model.Project, state *State, opts Options) (*Plan, error) {
	names := opts.Services
	if !opts.NoDeps || len(names) == 0 {
		names = p.WithDependencies(opts.Services)
	}
	slices.Sort(names)
	want, err := Desired(p, state, names, opts)
	if err != nil {
		return nil, err
	}
	out := &Plan{Project: p.Name, Namespace: NamespaceName(p.Name), Services: names, Warnings: want.warnings,
		NewProject: state.Namespace == nil || state.Namespace.DeletionTimestamp != nil}
	out.volumes(p, state, want)
	out.namespace(state, want.namespace)
	keep := map[string]bool{}
	for _, obj := range want.objects {
		keep[kindOf(obj)+"/"+obj.GetName()] = true
		out.object(state, obj)
	}
	for _, obj := range want.published {
		keep["Service/"+obj.Name] = true
		out.object(state, obj)
	}
	for _, w := range want.workloads {
		keep["Deployment/"+w.deployment.Name] = true
		out.workload(p, state, w, opts)
	}
	out.prune(p, state, keep, opts.RemoveOrphans)
	return out, nil
}

// Empty is true of a plan that changes nothing.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

func (p *Plan) namespace(state *State, want *corev1.Namespace) {
	if have := state.Namespace; have == nil || have.DeletionTimestamp != nil {
		p.apply(want, "new")
	} else if have.Annotations[annotationHash] != want.Annotations[annotationHash] {
		p.apply(want, "changed")
	}
}

func (p *Plan) apply(obj Object, why string) {
	p.Steps = append(p.Steps, Step{Verb: Apply, Kind: kindOf(obj), Name: obj.GetName(), Object: obj, Why: why})
}

// object applies anything that is neither namespace nor workload when its hash differs.
func (p *Plan) object(state *State, want Object) {
	have := state.find(kindOf(want), want.GetName())
	switch {
	case have == nil:
		p.apply(want, "new")
	case have.GetAnnotations()[annotationHash] != want.GetAnnotations()[annotationHash]:
		p.apply(want, "changed")
	}
}

// workload decides about one service: whether its Deployment changes, and what that does to each of its containers.
func (p *Plan) workload(project *model.Project, state *State, w workload, opts Options) {
	want := w.deployment
	have, _ := state.find("Deployment", want.Name).(*appsv1.Deployment)
	pods := state.podsOf(w.service)
	replicas := *want.Spec.Replicas
	fate := Create
	switch {
	case have == nil:
		p.apply(want, "new")
	case w.recreate && !opts.NoRecreate:
		p.apply(want, w.why)
		fate = Recreate
	default:
		fate = Keep
		stopped := have.Annotations[api.AnnotationStoppedReplicas] != ""
		if have.Annotations[annotationHash] != want.Annotations[annotationHash] {
			p.apply(want, "changed in place")
		} else if have.Spec.Replicas == nil || *have.Spec.Replicas != replicas || stopped {
			p.Steps = append(p.Steps, Step{Verb: Scale, Kind: "Deployment", Name: want.Name, Replicas: replicas, Why: scaleReason(have, replicas, stopped)})
		}
	}
	first := len(p.Containers)
	p.containers(project.Name, w.service, pods, int(replicas), fate, have)
	for i := range p.Containers[first:] {
		c := &p.Containers[first+i]
		c.Version = VersionOf(want.Spec.Template.Annotations)
		if name := want.Spec.Template.Annotations[AnnotationContainerName]; name != "" {
			c.Name = name
		}
	}
}

func scaleReason(have *appsv1.Deployment, replicas int32, stopped bool) string {
	if stopped {
		return "start again"
	}
	from := int32(1)
	if have.Spec.Replicas != nil {
		from = *have.Spec.Replicas
	}
	return fmt.Sprintf("from %d to %d", from, replicas)
}

// containers says what becomes of each container. Finished ones of a service that is kept are started again, as `up` always did.
func (p *Plan) containers(project, service string, pods map[int]*corev1.Pod, replicas int, fate string, have *appsv1.Deployment) {
	for n := 1; n <= replicas; n++ {
		change := fate
		pod := pods[n]
		switch {
		case pod == nil && fate == Keep && have.Annotations[api.AnnotationStoppedReplicas] != "":
			change = Start
		case pod == nil:
			change = Create
		case fate == Keep && finished(pod):
			change = Start
			p.Steps = append(p.Steps, Step{Verb: DeletePod, Kind: "Pod", Name: pod.Name, Grace: new(int64), Why: "finished; starts again"})
		}
		p.Containers = append(p.Containers, Container{Name: ContainerName(project, service, n), Service: service, Number: n, Change: change})
	}
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(pods))) {
		if n > replicas {
			p.Containers = append(p.Containers, Container{Name: ContainerName(project, service, n), Service: service, Number: n, Change: Remove})
		}
	}
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
