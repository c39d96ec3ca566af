package plan

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

// State is what runs now of a project, and which ports are taken by others.
type State struct {
	Namespace   *corev1.Namespace
	Deployments []*appsv1.Deployment
	Services    []*corev1.Service
	ConfigMaps  []*corev1.ConfigMap
	Secrets     []*corev1.Secret
	Pods        []*corev1.Pod
	Taken       []Taken
}

// Taken is a port of the node that somebody else holds.
type Taken struct {
	Port     int32
	Protocol corev1.Protocol
	HostIP   string // "": all addresses
	By       string // for the user: "service web of project other", "nginx (pid 812)"
}

// Image is what is known of an image on this node.
type Image struct {
	ID         string
	Entrypoint []string
	Cmd        []string
	Ports      []string // "6379/tcp"
	Volumes    []string
	Health     *model.Health
}

func (s *State) find(kind, name string) Object {
	for obj := range s.objects() {
		if kindOf(obj) == kind && obj.GetName() == name && obj.GetDeletionTimestamp() == nil {
			return obj
		}
	}
	return nil
}

// objects yields everything of the project that is in the cluster, but for namespace and pods.
func (s *State) objects() func(yield func(Object) bool) {
	return func(yield func(Object) bool) {
		for _, list := range [][]Object{objects(s.ConfigMaps), objects(s.Secrets), objects(s.Deployments), objects(s.Services)} {
			for _, obj := range list {
				if !yield(obj) {
					return
				}
			}
		}
	}
}

func objects[T Object](list []T) []Object {
	out := make([]Object, len(list))
	for i, obj := range list {
		out[i] = obj
	}
	return out
}

func kindOf(obj Object) string {
	switch obj.(type) {
	case *corev1.Namespace:
		return "Namespace"
	case *corev1.Service:
		return "Service"
	case *corev1.ConfigMap:
		return "ConfigMap"
	case *corev1.Secret:
		return "Secret"
	case *corev1.Pod:
		return "Pod"
	}
	return "Deployment"
}

// podsOf are the pods of a service by number, without those that are on their way out.
func (s *State) podsOf(service string) map[int]*corev1.Pod {
	out := map[int]*corev1.Pod{}
	for _, pod := range s.Pods {
		if pod.Labels[api.LabelService] != service || pod.Labels[api.LabelOneOff] == "true" || pod.DeletionTimestamp != nil {
			continue
		}
		if n := Number(pod); n > 0 {
			out[n] = pod
		}
	}
	return out
}

// Number is the container number of a pod, 0 if it has none.
func Number(pod *corev1.Pod) int {
	n, _ := strconv.Atoi(pod.Labels[api.LabelNumber])
	return n
}

// prune deletes what the project had and has no longer. The objects of a service that is not selected stay, so do those of orphans unless
// asked for.
func (p *Plan) prune(project *model.Project, state *State, keep map[string]bool, orphans bool) {
	known := map[string]bool{"": true}
	for _, name := range p.Services {
		known[name] = true
	}
	elsewhere := map[string]bool{}
	for _, name := range append(project.Names(), project.Disabled...) {
		elsewhere[name] = true
	}
	for obj := range state.objects() {
		service := obj.GetLabels()[api.LabelService]
		if obj.GetLabels()[labelManagedBy] != managedBy || keep[kindOf(obj)+"/"+obj.GetName()] || obj.GetDeletionTimestamp() != nil {
			continue
		}
		orphan := !known[service] && !elsewhere[service]
		if orphan && !orphans || !orphan && !known[service] {
			continue
		}
		p.Steps = append(p.Steps, Step{Verb: Delete, Kind: kindOf(obj), Name: obj.GetName(), Why: "no longer in the file"})
	}
	for _, pod := range state.Pods {
		service := pod.Labels[api.LabelService]
		if pod.DeletionTimestamp != nil || service == "" || elsewhere[service] {
			continue
		}
		if n := Number(pod); n > 0 {
			name := ContainerName(project.Name, service, n)
			if own := pod.Annotations[AnnotationContainerName]; own != "" {
				name = own
			}
			p.Orphans = append(p.Orphans, name)
			if orphans {
				p.Containers = append(p.Containers, Container{Name: name, Service: service, Number: n, Change: Remove})
			}
		}
	}
	slices.Sort(p.Orphans)
}
