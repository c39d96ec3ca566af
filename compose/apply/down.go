package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// DownOptions are the wishes of one `down`.
type DownOptions struct {
	Services []string // the file's services; nil if there is no file, then everything goes
	Known    []string // services of the file that no profile enables
	Orphans  bool     // --remove-orphans
	Grace    *time.Duration
}

// Down removes a project. It returns the containers it leaves, which the file does not know.
func Down(ctx context.Context, t Target, project string, opts DownOptions, report Report) ([]string, error) {
	ns := plan.NamespaceName(project)
	state, err := t.State(ctx, ns, Parts{Namespace: true, Deployments: true, Pods: true, Services: true, Files: true})
	if err != nil {
		return nil, err
	}
	if state.Namespace == nil || state.Namespace.Labels[api.LabelProject] != project {
		return nil, nil
	}
	orphans, kept := strangers(project, state, opts)
	if len(orphans) > 0 {
		return orphans, downSome(ctx, t, project, state, kept, opts, report)
	}
	levels := StopOrder(state.Deployments)
	for _, level := range levels[:max(len(levels)-1, 0)] {
		if err := Stop(ctx, t, project, level, state, StopOptions{Grace: opts.Grace, Remove: true}, report); err != nil {
			return nil, err
		}
		state.Pods = slices.DeleteFunc(state.Pods, func(p *corev1.Pod) bool { return slices.Contains(level, p.Labels[api.LabelService]) })
	}
	network := "Network " + project + "_default"
	follow := followRemoval(project, state, report)
	report(Event{Object: network, Status: "Removing"})
	if err := t.Delete(ctx, "Namespace", "", ns, nil); err != nil {
		return nil, fmt.Errorf("delete the namespace %s: %w", ns, err)
	}
	if err := hurry(ctx, t, ns, state.Pods, opts.Grace); err != nil {
		return nil, err
	}
	if _, err := follow(ctx, t, ns); err != nil {
		return nil, err
	}
	if err := t.WaitGone(ctx, "Namespace", "", ns); err != nil {
		return nil, fmt.Errorf("wait for the namespace %s to go: %w", ns, err)
	}
	report(Event{Object: network, Status: "Removed", State: Done})
	return nil, nil
}

// strangers are the containers of services the file does not know, unless they are to go too, and the services they belong to.
func strangers(project string, state *plan.State, opts DownOptions) (names, services []string) {
	if opts.Orphans || opts.Services == nil {
		return nil, nil
	}
	for _, pod := range state.Pods {
		s := pod.Labels[api.LabelService]
		if s == "" || slices.Contains(opts.Services, s) || slices.Contains(opts.Known, s) || pod.DeletionTimestamp != nil {
			continue
		}
		names = append(names, Shown(project, pod))
		if !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	slices.Sort(names)
	return names, services
}

// downSome removes all but the kept services, and leaves the namespace.
func downSome(ctx context.Context, t Target, project string, state *plan.State, kept []string, opts DownOptions, report Report) error {
	ns := plan.NamespaceName(project)
	var names []string
	for _, d := range state.Deployments {
		if s := d.Labels[api.LabelService]; !slices.Contains(kept, s) {
			names = append(names, s)
		}
	}
	if err := Stop(ctx, t, project, names, state, StopOptions{Grace: opts.Grace, Remove: true}, report); err != nil {
		return err
	}
	var errs []error
	for _, s := range state.Services {
		if !slices.Contains(kept, s.Labels[api.LabelService]) {
			errs = append(errs, t.Delete(ctx, "Service", ns, s.Name, nil))
		}
	}
	return errors.Join(errs...)
}

// WithDependencies returns the services and all they depend on, as far as they are in the cluster, sorted.
func WithDependencies(deployments []*appsv1.Deployment, services []string) []string {
	out := slices.Clone(services)
	for i := 0; i < len(out); i++ {
		for _, d := range deployments {
			if d.Labels[api.LabelService] != out[i] {
				continue
			}
			for _, dep := range dependencies(d) {
				if !slices.Contains(out, dep) {
					out = append(out, dep)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func dependencies(d *appsv1.Deployment) []string {
	var deps []string
	_ = json.Unmarshal([]byte(d.Annotations[plan.AnnotationAfter]), &deps)
	return deps
}

// StopOrder groups services so that dependants stop before what they depend on.
func StopOrder(deployments []*appsv1.Deployment) [][]string {
	after := map[string][]string{}
	depth := map[string]int{}
	for _, d := range deployments {
		after[d.Labels[api.LabelService]] = dependencies(d)
	}
	var visit func(name string, seen int) int
	visit = func(name string, seen int) int {
		if d, ok := depth[name]; ok {
			return d
		}
		d := 0
		for _, dep := range after[name] {
			if _, there := after[dep]; there && seen < len(after) {
				d = max(d, visit(dep, seen+1)+1)
			}
		}
		depth[name] = d
		return d
	}
	var levels [][]string
	for name := range after {
		d := visit(name, 0)
		for len(levels) <= d {
			levels = append(levels, nil)
		}
		levels[d] = append(levels[d], name)
	}
	slices.Reverse(levels)
	for _, l := range levels {
		slices.Sort(l)
	}
	return levels
}

// hurry shortens the grace of pods to the one given. Without one, pods of published services lose the part of it that is for draining: nobody
// takes over from a service that stops as a whole.
func hurry(ctx context.Context, t Target, namespace string, pods []*corev1.Pod, grace *time.Duration) error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		seconds := plan.GraceWithoutDrain(pod)
		if grace != nil {
			n := int64((*grace + time.Second - 1) / time.Second)
			seconds = &n
		}
		if seconds != nil {
			wg.Go(func() { errs[i] = t.Delete(ctx, "Pod", namespace, pod.Name, seconds) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// StopOptions are the wishes of one `stop`, `kill`, `rm` or `restart`.
type StopOptions struct {
	Grace  *time.Duration
	Remove bool   // the containers go for good, with their Deployments
	Words  string // "" is Stopping/Stopped; "Killing" is Killing/Killed
}

// Stop ends the containers of services and waits for their end. The Deployments stay, at no replicas, and remember how many they had.
func Stop(ctx context.Context, t Target, project string, services []string, state *plan.State, opts StopOptions, report Report) error {
	ns := plan.NamespaceName(project)
	var stopped []*corev1.Pod
	for _, d := range state.Deployments {
		if !slices.Contains(services, d.Labels[api.LabelService]) {
			continue
		}
		var err error
		if opts.Remove {
			err = t.Delete(ctx, "Deployment", ns, d.Name, nil)
		} else if n := replicas(d); n > 0 {
			err = t.Patch(ctx, "Deployment", ns, d.Name, scalePatch(0, strconv.Itoa(int(n))))
		}
		if err != nil {
			return fmt.Errorf("stop %s: %w", d.Name, err)
		}
	}
	for _, pod := range state.Pods {
		if slices.Contains(services, pod.Labels[api.LabelService]) {
			stopped = append(stopped, pod)
		}
	}
	follow := followRemoval(project, &plan.State{Pods: stopped}, rewording(report, opts))
	if err := hurry(ctx, t, ns, stopped, opts.Grace); err != nil {
		return err
	}
	last, err := follow(ctx, t, ns)
	if err != nil || opts.Remove {
		return err
	}
	killed := opts.Grace != nil && *opts.Grace == 0
	return remember(ctx, t, ns, state.Deployments, services, last, killed)
}

// remember writes down how the containers of stopped services ended, for `ps -a`: their pods are gone. Those that were killed went without telling.
func remember(ctx context.Context, t Target, namespace string, deployments []*appsv1.Deployment, services []string, last map[string]*corev1.Pod, killed bool) error {
	for _, d := range deployments {
		service := d.Labels[api.LabelService]
		if !slices.Contains(services, service) {
			continue
		}
		ends := map[int]plan.Stopped{}
		for _, pod := range last {
			c := container(pod)
			if pod.Labels[api.LabelService] != service || c == nil {
				continue
			}
			_, id, _ := strings.Cut(c.ContainerID, "://")
			switch end := c.State.Terminated; {
			case end != nil:
				ends[plan.Number(pod)] = plan.Stopped{ExitCode: end.ExitCode, At: end.FinishedAt, ID: id}
			case killed && c.State.Running != nil:
				ends[plan.Number(pod)] = plan.Stopped{ExitCode: 128 + 9, At: metav1.Now(), ID: id}
			}
		}
		if len(ends) == 0 {
			continue
		}
		// Encoding plain maps cannot fail.
		list, _ := json.Marshal(ends)
		patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{plan.AnnotationStopped: string(list)}}})
		if err := t.Patch(ctx, "Deployment", namespace, d.Name, patch); err != nil {
			return fmt.Errorf("note how %s ended: %w", service, err)
		}
	}
	return nil
}

func rewording(report Report, opts StopOptions) Report {
	return func(e Event) {
		if opts.Words == "Killing" {
			e.Status = map[string]string{"Stopping": "Killing", "Stopped": "Killed"}[e.Status]
		}
		if e.Status == "" || !opts.Remove && (e.Status == "Removing" || e.Status == "Removed") {
			return
		}
		if !opts.Remove && (e.Status == "Stopped" || e.Status == "Killed") {
			e.State = Done
		}
		report(e)
	}
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// followRemoval reports the end of pods as they go. What it reports first is that they are stopping. The function it returns waits for the last of
// them, and returns them as they were seen last.
func followRemoval(project string, state *plan.State, report Report) func(ctx context.Context, t Target, namespace string) (map[string]*corev1.Pod, error) {
	left := map[string]string{}
	var order []string
	for _, pod := range state.Pods {
		left[pod.Name] = Shown(project, pod)
		order = append(order, pod.Name)
	}
	slices.SortFunc(order, func(a, b string) int { return compareNames(left[a], left[b]) })
	for _, name := range order {
		report(Event{Object: "Container " + left[name], Status: "Stopping"})
	}
	gone := func(name string) {
		if shown, ok := left[name]; ok {
			report(Event{Object: "Container " + shown, Status: "Stopped"})
			report(Event{Object: "Container " + shown, Status: "Removing"})
			report(Event{Object: "Container " + shown, Status: "Removed", State: Done})
			delete(left, name)
		}
	}
	return func(ctx context.Context, t Target, namespace string) (map[string]*corev1.Pod, error) {
		last := map[string]*corev1.Pod{}
		if len(left) == 0 {
			return last, nil
		}
		for _, pod := range state.Pods {
			last[pod.Name] = pod
		}
		there := map[string]bool{}
		synced := false
		return last, t.WatchPods(ctx, namespace, func(e PodEvent) bool {
			if e.Pod != nil && last[e.Pod.Name] != nil {
				last[e.Pod.Name] = e.Pod
			}
			switch {
			case e.Synced:
				synced = true
				for _, name := range order {
					if !there[name] {
						gone(name)
					}
				}
			case e.Deleted:
				gone(e.Pod.Name)
			default:
				there[e.Pod.Name] = true
			}
			return !synced || len(left) > 0
		})
	}
}

// Shown is the name a pod's container is shown by.
func Shown(project string, pod *corev1.Pod) string {
	if name := pod.Annotations[plan.AnnotationContainerName]; name != "" {
		return name
	}
	if s := pod.Labels[api.LabelService]; s != "" && plan.Number(pod) > 0 {
		return plan.ContainerName(project, s, plan.Number(pod))
	}
	return pod.Name
}

// compareNames sorts container names with their numbers as numbers.
func compareNames(a, b string) int {
	if len(a) != len(b) && slices.Equal([]byte(base(a)), []byte(base(b))) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func base(name string) string {
	i := len(name)
	for i > 0 && name[i-1] >= '0' && name[i-1] <= '9' {
		i--
	}
	return name[:i]
}
