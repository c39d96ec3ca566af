// Package applytest has a cluster in memory for tests of what uses apply.Target.
//
// It keeps the rules that matter here: namespaces hold objects, Deployments have numbered pods that follow their template, pods start once what
// they depend on is there, deleting a namespace deletes what is in it. It keeps no time: what happens, happens before a call returns, and ages
// are those of Fake.Now. It is no API server: nothing is validated. Start with New.
package applytest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// Behaviour is what the containers of a service do once started. The zero value runs for ever and is ready at once.
type Behaviour struct {
	Exits    bool // it ends at once
	ExitCode int32
	Sick     bool   // it never becomes ready
	Trouble  string // it cannot be created, for this reason
}

// Fake is the cluster. Its fields are set before use.
type Fake struct {
	Now        time.Time
	Behaviours map[string]Behaviour // by service; "run SERVICE" for one-off containers
	LogLines   map[string]string    // by service
	FailAfter  int                  // every write after this many fails; 0 is never

	lock     sync.Mutex
	writes   []string
	ns       map[string]*corev1.Namespace
	objects  map[string]plan.Object // kind/namespace/name
	pods     map[string]*corev1.Pod // namespace/name
	serials  map[string]int         // how many pods each Deployment has had
	watches  int
	starts   map[string]int // how often each container was started
	watchers map[int]chan apply.PodEvent
}

// New returns an empty cluster.
func New() *Fake {
	return &Fake{Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Behaviours: map[string]Behaviour{}, LogLines: map[string]string{},
		ns: map[string]*corev1.Namespace{}, objects: map[string]plan.Object{}, pods: map[string]*corev1.Pod{}, watchers: map[int]chan apply.PodEvent{}, starts: map[string]int{}, serials: map[string]int{}}
}

// Writes returns the changes so far, one line each, and forgets them.
func (f *Fake) Writes() []string {
	f.lock.Lock()
	defer f.lock.Unlock()
	out := f.writes
	f.writes = nil
	return out
}

func (f *Fake) write(format string, args ...any) error {
	f.writes = append(f.writes, fmt.Sprintf(format, args...))
	if f.FailAfter > 0 && len(f.writes) > f.FailAfter {
		return apierrors.NewServiceUnavailable("the connection was cut")
	}
	return nil
}

// State implements apply.Target.
func (f *Fake) State(_ context.Context, namespace string, parts apply.Parts) (*plan.State, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	s := &plan.State{}
	if ns := f.ns[namespace]; ns != nil && parts.Namespace {
		s.Namespace = ns.DeepCopy()
	}
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		obj := f.objects[key]
		if obj.GetNamespace() != namespace {
			if svc, ok := obj.(*corev1.Service); ok && parts.AllServices {
				s.Taken = append(s.Taken, taken(svc)...)
			}
			continue
		}
		switch obj := obj.(type) {
		case *appsv1.Deployment:
			if parts.Deployments {
				s.Deployments = append(s.Deployments, obj.DeepCopy())
			}
		case *corev1.Service:
			if parts.Services || parts.AllServices {
				s.Services = append(s.Services, obj.DeepCopy())
			}
		case *corev1.ConfigMap:
			if parts.Files {
				s.ConfigMaps = append(s.ConfigMaps, obj.DeepCopy())
			}
		case *corev1.Secret:
			if parts.Files {
				s.Secrets = append(s.Secrets, obj.DeepCopy())
			}
		}
	}
	if parts.Pods {
		for _, pod := range f.podsIn(namespace) {
			s.Pods = append(s.Pods, pod.DeepCopy())
		}
	}
	return s, nil
}

// taken are the ports that another project's Service publishes.
func taken(svc *corev1.Service) []plan.Taken {
	var all []plan.Taken
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var hostIP map[string]string
	_ = json.Unmarshal([]byte(svc.Annotations[api.AnnotationHostIP]), &hostIP)
	for _, p := range svc.Spec.Ports {
		all = append(all, plan.Taken{Port: p.Port, Protocol: p.Protocol, HostIP: hostIP[fmt.Sprintf("%d/%s", p.Port, p.Protocol)],
			By: fmt.Sprintf("service %s of project %s", svc.Labels[api.LabelService], svc.Labels[api.LabelProject])})
	}
	return all
}

func (f *Fake) podsIn(namespace string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, key := range slices.Sorted(maps.Keys(f.pods)) {
		if f.pods[key].Namespace == namespace {
			out = append(out, f.pods[key])
		}
	}
	return out
}

// Apply implements apply.Target.
func (f *Fake) Apply(_ context.Context, obj plan.Object) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if err := f.write("apply %s/%s", kind, obj.GetName()); err != nil {
		return err
	}
	return f.put(kind, obj)
}

// Create implements apply.Target.
func (f *Fake) Create(_ context.Context, obj plan.Object) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if err := f.write("create %s/%s", kind, obj.GetName()); err != nil {
		return err
	}
	if f.pods[obj.GetNamespace()+"/"+obj.GetName()] != nil && kind == "Pod" || f.objects[kind+"/"+obj.GetNamespace()+"/"+obj.GetName()] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: kind}, obj.GetName())
	}
	return f.put(kind, obj)
}

func (f *Fake) put(kind string, obj plan.Object) error {
	if ns, ok := obj.(*corev1.Namespace); ok {
		f.ns[ns.Name] = ns.DeepCopy()
		return nil
	}
	if f.ns[obj.GetNamespace()] == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, obj.GetNamespace())
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		f.start(pod.DeepCopy())
		return nil
	}
	f.objects[kind+"/"+obj.GetNamespace()+"/"+obj.GetName()] = obj.DeepCopyObject().(plan.Object)
	f.reconcile(obj.GetNamespace())
	return nil
}

// Patch implements apply.Target for what the front end patches: replicas and annotations.
func (f *Fake) Patch(_ context.Context, kind, namespace, name string, merge []byte) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.write("patch %s/%s %s", kind, name, merge); err != nil {
		return err
	}
	d, ok := f.objects[kind+"/"+namespace+"/"+name].(*appsv1.Deployment)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
	}
	var patch struct {
		Metadata struct{ Annotations map[string]*string }
		Spec     struct{ Replicas *int32 }
	}
	if err := json.Unmarshal(merge, &patch); err != nil {
		return err
	}
	for key, value := range patch.Metadata.Annotations {
		if value == nil {
			delete(d.Annotations, key)
		} else {
			d.Annotations[key] = *value
		}
	}
	if patch.Spec.Replicas != nil {
		d.Spec.Replicas = patch.Spec.Replicas
	}
	f.reconcile(namespace)
	return nil
}

// Delete implements apply.Target.
func (f *Fake) Delete(_ context.Context, kind, namespace, name string, _ *int64) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.write("delete %s/%s", kind, name); err != nil {
		return err
	}
	switch kind {
	case "Namespace":
		delete(f.ns, name)
		maps.DeleteFunc(f.objects, func(_ string, obj plan.Object) bool { return obj.GetNamespace() == name })
		for _, pod := range f.podsIn(name) {
			f.remove(pod)
		}
		return nil
	case "Pod":
		if pod := f.pods[namespace+"/"+name]; pod != nil {
			f.remove(pod)
		}
	default:
		delete(f.objects, kind+"/"+namespace+"/"+name)
	}
	f.reconcile(namespace)
	return nil
}

// reconcile does the controllers' work: each Deployment has its pods in its version, and no pod is without a Deployment.
func (f *Fake) reconcile(namespace string) {
	wanted := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		d, ok := f.objects[key].(*appsv1.Deployment)
		if !ok || d.Namespace != namespace {
			continue
		}
		service := d.Labels[api.LabelService]
		for n := range int(*d.Spec.Replicas) {
			id := fmt.Sprintf("%s/%d/%s", service, n+1, plan.VersionOf(d.Spec.Template.Annotations))
			wanted[id] = true
			if !slices.ContainsFunc(f.podsIn(namespace), func(p *corev1.Pod) bool { return identity(p) == id }) {
				f.start(f.newPod(d, n+1))
			}
		}
	}
	for _, pod := range f.podsIn(namespace) {
		if pod.Labels[api.LabelService] != "" && !wanted[identity(pod)] {
			f.remove(pod)
		}
	}
}

func identity(pod *corev1.Pod) string {
	return pod.Labels[api.LabelService] + "/" + pod.Labels[api.LabelNumber] + "/" + plan.VersionOf(pod.Annotations)
}

func (f *Fake) newPod(d *appsv1.Deployment, number int) *corev1.Pod {
	key := d.Namespace + "/" + d.Name
	f.serials[key]++
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(),
		Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Namespace = d.Namespace
	pod.Name = fmt.Sprintf("%s-%04d", d.Name, f.serials[key])
	pod.Labels[api.LabelNumber] = strconv.Itoa(number)
	return pod
}

// start gives a pod its status, as far as its service behaves and its dependencies allow.
func (f *Fake) start(pod *corev1.Pod) {
	pod.CreationTimestamp = metav1.NewTime(f.Now)
	f.pods[pod.Namespace+"/"+pod.Name] = pod
	service := pod.Labels[api.LabelService]
	if pod.Labels[api.LabelOneOff] == "true" {
		service = "run " + pod.Labels[plan.LabelRunService]
	}
	b := f.Behaviours[service]
	status := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image,
		ContainerID: "cuppa://" + f.containerID(pod)}
	pod.Status.Phase = corev1.PodRunning
	switch {
	case len(pod.Spec.SchedulingGates) > 0 && !f.dependenciesMet(pod):
		pod.Status.Phase = corev1.PodPending
		f.tell(apply.PodEvent{Pod: pod.DeepCopy()})
		return
	case b.Trouble != "":
		pod.Status.Phase = corev1.PodPending
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: b.Trouble}
	case b.Exits:
		status.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: b.ExitCode, FinishedAt: metav1.NewTime(f.Now)}
		pod.Status.Phase = corev1.PodSucceeded
		if b.ExitCode != 0 {
			pod.Status.Phase = corev1.PodFailed
		}
	default:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(f.Now)}
		status.Ready = !b.Sick
		ready := corev1.ConditionTrue
		if b.Sick {
			ready = corev1.ConditionFalse
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	}
	pod.Spec.SchedulingGates = nil
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	f.tell(apply.PodEvent{Pod: pod.DeepCopy()})
	f.lift(pod.Namespace)
}

// lift starts the pods whose dependencies have come true.
func (f *Fake) lift(namespace string) {
	for _, pod := range f.podsIn(namespace) {
		if len(pod.Spec.SchedulingGates) > 0 && f.dependenciesMet(pod) {
			f.start(pod)
		}
	}
}

// containerID is new for each start of a container, and the same in every run of a test.
func (f *Fake) containerID(pod *corev1.Pod) string {
	who := pod.Namespace + "/" + pod.Labels[api.LabelService] + "/" + pod.Labels[api.LabelNumber]
	f.starts[who]++
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s/%d", who, f.starts[who])))
}

// Projects implements apply.Projects.
func (f *Fake) Projects(context.Context) ([]*corev1.Namespace, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	var out []*corev1.Namespace
	for _, name := range slices.Sorted(maps.Keys(f.ns)) {
		out = append(out, f.ns[name].DeepCopy())
	}
	return out, nil
}

// dependenciesMet plays the dependency controller: pods of the wanted version count, and all of them must have come as far as is asked.
func (f *Fake) dependenciesMet(pod *corev1.Pod) bool {
	var deps []struct {
		Service, Condition string
		Required           *bool
	}
	_ = json.Unmarshal([]byte(pod.Annotations[api.AnnotationDependsOn]), &deps)
	for _, dep := range deps {
		optional := dep.Required != nil && !*dep.Required
		d, _ := f.objects["Deployment/"+pod.Namespace+"/"+plan.ObjectName(dep.Service)].(*appsv1.Deployment)
		if optional && (d == nil || *d.Spec.Replicas == 0) {
			continue
		}
		count := 0
		for _, other := range f.podsIn(pod.Namespace) {
			if other.Labels[api.LabelService] != dep.Service || d != nil && plan.VersionOf(other.Annotations) != plan.VersionOf(d.Spec.Template.Annotations) {
				continue
			}
			count++
			if !hasCome(other, dep.Condition, optional) {
				return false
			}
		}
		if count == 0 {
			return false
		}
	}
	return true
}

func hasCome(pod *corev1.Pod, condition string, optional bool) bool {
	if len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	c := pod.Status.ContainerStatuses[0]
	ended := c.State.Terminated != nil
	switch condition {
	case "service_healthy":
		return c.Ready || optional && ended
	case "service_completed_successfully":
		return ended && (optional || c.State.Terminated.ExitCode == 0)
	}
	return c.State.Running != nil || ended
}

func (f *Fake) remove(pod *corev1.Pod) {
	delete(f.pods, pod.Namespace+"/"+pod.Name)
	if len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil {
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143,
			FinishedAt: metav1.NewTime(f.Now)}}
	}
	f.tell(apply.PodEvent{Pod: pod.DeepCopy(), Deleted: true})
}

// Exit ends a container of a service, as if its process had ended.
func (f *Fake) Exit(namespace, service string, number int, code int32) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for _, pod := range f.podsIn(namespace) {
		if pod.Labels[api.LabelService] == service && plan.Number(pod) == number {
			pod.Status.Phase = corev1.PodSucceeded
			if code != 0 {
				pod.Status.Phase = corev1.PodFailed
			}
			pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code,
				FinishedAt: metav1.NewTime(f.Now)}}
			f.tell(apply.PodEvent{Pod: pod.DeepCopy()})
		}
	}
}

func (f *Fake) tell(e apply.PodEvent) {
	for _, ch := range f.watchers {
		ch <- e
	}
}

// WatchPods implements apply.Target.
func (f *Fake) WatchPods(ctx context.Context, namespace string, fn func(apply.PodEvent) bool) error {
	f.lock.Lock()
	f.watches++
	id := f.watches
	// The buffer holds all that a test can cause while the watcher is busy.
	ch := make(chan apply.PodEvent, 10000)
	for _, pod := range f.podsIn(namespace) {
		ch <- apply.PodEvent{Pod: pod.DeepCopy()}
	}
	ch <- apply.PodEvent{Synced: true}
	f.watchers[id] = ch
	f.lock.Unlock()
	defer func() {
		f.lock.Lock()
		defer f.lock.Unlock()
		delete(f.watchers, id)
	}()
	for {
		select {
		case e := <-ch:
			if e.Pod != nil && e.Pod.Namespace != namespace {
				continue
			}
			if !fn(e) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitGone implements apply.Target: deletion is immediate here.
func (f *Fake) WaitGone(context.Context, string, string, string) error { return nil }

// Logs implements apply.Target. A log that is followed ends with the test's context.
func (f *Fake) Logs(_ context.Context, pod *corev1.Pod, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	lines := slices.Collect(strings.Lines(f.LogLines[pod.Labels[api.LabelService]]))
	if opts.TailLines != nil {
		lines = lines[max(0, len(lines)-int(*opts.TailLines)):]
	}
	var out strings.Builder
	for i, line := range lines {
		if opts.Timestamps {
			out.WriteString(f.Now.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano) + " ")
		}
		out.WriteString(line)
	}
	return io.NopCloser(strings.NewReader(out.String())), nil
}
