package applytest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// Run holds a target against what apply.Target promises: the real one and the one in memory, so that what passes with the second would with the
// first. Open returns an empty target. What controllers and nodes do is not part of it.
func Run(t *testing.T, open func(t *testing.T) apply.Target) {
	for _, rule := range []struct {
		name string
		test func(t *testing.T, c apply.Target)
	}{
		{"state has the parts that are asked for", testParts},
		{"state of a project that is not there is empty", testNothing},
		{"other projects' ports are taken", testTaken},
		{"apply makes and changes, and takes away what it no longer has", testApply},
		{"apply needs the namespace", testNoNamespace},
		{"create refuses a name that is taken", testCreate},
		{"patch changes what it names, and refuses what is not there", testPatch},
		{"delete is no error for what is not there", testDelete},
		{"a namespace takes what is in it along", testNamespace},
		{"what was read is the reader's", testOwn},
		{"watch shows what is there, then what changes", testWatch},
		{"watch ends with its reader and its context", testWatchEnds},
		{"wait until something has gone", testWaitGone},
	} {
		t.Run(rule.name, func(t *testing.T) { rule.test(t, open(t)) })
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "proj", Labels: map[string]string{api.LabelProject: "proj", api.LabelService: "web"}}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.LabelProject: name}}}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta(name), BinaryData: map[string][]byte{"content": []byte(value)}}
}

func secret(name string) *corev1.Secret {
	return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(name), Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"content": {0, 1}}}
}

func published(namespace, name string, port int32) *corev1.Service {
	s := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool), Ports: []corev1.ServicePort{{Port: port, Protocol: corev1.ProtocolTCP}}}}
	s.Namespace, s.Labels[api.LabelProject] = namespace, namespace
	return s
}

// deployment wants no pods, so that it is the same whether there are controllers or not.
func deployment(name string) *appsv1.Deployment {
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: meta(name),
		Spec: appsv1.DeploymentSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Template: template}}
	d.Annotations = map[string]string{"kept": "1"}
	return d
}

// pod belongs to no service, so that nobody takes it for one too many.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "proj"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

// fill puts one object of each kind into the project.
func fill(t *testing.T, c apply.Target) {
	t.Helper()
	for _, obj := range []plan.Object{namespace("proj"), configMap("conf", "1"), secret("pass"), published("proj", "web", 8000), deployment("web")} {
		check(t, c.Apply(t.Context(), obj))
	}
	check(t, c.Create(t.Context(), pod("one")))
}

// names says what is in a state.
func names(s *plan.State) []string {
	var all []string
	if s.Namespace != nil {
		all = append(all, "Namespace/"+s.Namespace.Name)
	}
	all = append(all, named("Deployment/", s.Deployments)...)
	all = append(all, named("Service/", s.Services)...)
	all = append(all, named("ConfigMap/", s.ConfigMaps)...)
	all = append(all, named("Secret/", s.Secrets)...)
	return append(all, named("Pod/", s.Pods)...)
}

func named[T metav1.Object](kind string, list []T) []string {
	var all []string
	for _, obj := range list {
		if obj.GetName() != "kube-root-ca.crt" { // a controller's, where there are any
			all = append(all, kind+obj.GetName())
		}
	}
	slices.Sort(all)
	return all
}

func testParts(t *testing.T, c apply.Target) {
	fill(t, c)
	for _, row := range []struct {
		parts apply.Parts
		want  []string
	}{
		{apply.Parts{}, nil},
		{apply.Parts{Namespace: true}, []string{"Namespace/proj"}},
		{apply.Parts{Deployments: true}, []string{"Deployment/web"}},
		{apply.Parts{Services: true}, []string{"Service/web"}},
		{apply.Parts{AllServices: true}, []string{"Service/web"}},
		{apply.Parts{Files: true}, []string{"ConfigMap/conf", "Secret/pass"}},
		{apply.Parts{Pods: true}, []string{"Pod/one"}},
		{apply.Everything(), []string{"Namespace/proj", "Deployment/web", "Service/web", "ConfigMap/conf", "Secret/pass", "Pod/one"}},
	} {
		state, err := c.State(t.Context(), "proj", row.parts)
		check(t, err)
		if diff := cmp.Diff(row.want, names(state)); diff != "" {
			t.Errorf("state with %+v (-want +got):\n%s", row.parts, diff)
		}
	}
}

func testNothing(t *testing.T, c apply.Target) {
	state, err := c.State(t.Context(), "proj", apply.Everything())
	check(t, err)
	if got := names(state); len(got) > 0 {
		t.Errorf("state of nothing: %v", got)
	}
}

func testTaken(t *testing.T, c apply.Target) {
	fill(t, c)
	check(t, c.Apply(t.Context(), namespace("other")))
	local := published("other", "db", 9000)
	local.Annotations = map[string]string{api.AnnotationHostIP: `{"9000/TCP":"127.0.0.1"}`}
	check(t, c.Apply(t.Context(), local))
	state, err := c.State(t.Context(), "proj", apply.Parts{AllServices: true})
	check(t, err)
	want := []plan.Taken{{Port: 9000, Protocol: corev1.ProtocolTCP, HostIP: "127.0.0.1", By: "service web of project other"}}
	if diff := cmp.Diff(want, state.Taken); diff != "" {
		t.Errorf("taken ports (-want +got):\n%s", diff)
	}
	if state, err = c.State(t.Context(), "proj", apply.Parts{Services: true}); err != nil || len(state.Taken) > 0 {
		t.Errorf("taken ports, not asked for: %v, %v", state.Taken, err)
	}
}

func content(t *testing.T, c apply.Target, name string) map[string][]byte {
	t.Helper()
	state, err := c.State(t.Context(), "proj", apply.Parts{Files: true})
	check(t, err)
	for _, cm := range state.ConfigMaps {
		if cm.Name == name {
			return cm.BinaryData
		}
	}
	return nil
}

func testApply(t *testing.T, c apply.Target) {
	fill(t, c)
	check(t, c.Apply(t.Context(), configMap("conf", "1"))) // the same again
	changed := configMap("conf", "2")
	changed.BinaryData["more"] = []byte("x")
	check(t, c.Apply(t.Context(), changed))
	if diff := cmp.Diff(changed.BinaryData, content(t, c, "conf")); diff != "" {
		t.Errorf("after a change (-want +got):\n%s", diff)
	}
	check(t, c.Apply(t.Context(), configMap("conf", "2")))
	if diff := cmp.Diff(configMap("conf", "2").BinaryData, content(t, c, "conf")); diff != "" {
		t.Errorf("after a key was taken away (-want +got):\n%s", diff)
	}
}

func testNoNamespace(t *testing.T, c apply.Target) {
	if err := c.Apply(t.Context(), configMap("conf", "1")); !apierrors.IsNotFound(err) {
		t.Errorf("apply into a namespace that is not there: %v, want not found", err)
	}
}

func testCreate(t *testing.T, c apply.Target) {
	fill(t, c)
	if err := c.Create(t.Context(), pod("one")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create a pod twice: %v, want that it exists", err)
	}
	if err := c.Create(t.Context(), configMap("conf", "2")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create what was applied: %v, want that it exists", err)
	}
	if got := string(content(t, c, "conf")["content"]); got != "1" {
		t.Errorf("a refused creation changed the object to %q", got)
	}
}

func testPatch(t *testing.T, c apply.Target) {
	fill(t, c)
	check(t, c.Patch(t.Context(), "Deployment", "proj", "web", []byte(`{"metadata":{"annotations":{"new":"2","kept":null}}}`)))
	state, err := c.State(t.Context(), "proj", apply.Parts{Deployments: true})
	check(t, err)
	d := state.Deployments[0]
	if _, there := d.Annotations["kept"]; there || d.Annotations["new"] != "2" || *d.Spec.Replicas != 0 {
		t.Errorf("after the patch: %v, %d replicas", d.Annotations, *d.Spec.Replicas)
	}
	if err := c.Patch(t.Context(), "Deployment", "proj", "none", []byte(`{}`)); !apierrors.IsNotFound(err) {
		t.Errorf("patch of what is not there: %v, want not found", err)
	}
}

func testDelete(t *testing.T, c apply.Target) {
	fill(t, c)
	for range 2 {
		for _, kind := range []string{"ConfigMap", "Secret", "Service", "Deployment"} {
			check(t, c.Delete(t.Context(), kind, "proj", map[string]string{"ConfigMap": "conf", "Secret": "pass"}[kind]+map[string]string{"Service": "web", "Deployment": "web"}[kind], nil))
		}
		check(t, c.Delete(t.Context(), "Pod", "proj", "one", new(int64)))
	}
	state, err := c.State(t.Context(), "proj", apply.Everything())
	check(t, err)
	if diff := cmp.Diff([]string{"Namespace/proj"}, names(state)); diff != "" {
		t.Errorf("after all was deleted (-want +got):\n%s", diff)
	}
}

func testNamespace(t *testing.T, c apply.Target) {
	if err := c.Delete(t.Context(), "Namespace", "", "proj", nil); err != nil {
		t.Errorf("delete a namespace that is not there: %v", err)
	}
	fill(t, c)
	check(t, c.Delete(t.Context(), "Namespace", "", "proj", nil))
	state, err := c.State(t.Context(), "proj", apply.Parts{Namespace: true})
	check(t, err)
	if state.Namespace != nil && state.Namespace.DeletionTimestamp == nil {
		t.Error("a deleted namespace is there as if nothing had happened")
	}
	if state.Namespace != nil { // somebody has to empty it first
		if err := c.Delete(t.Context(), "Namespace", "", "proj", nil); err != nil {
			t.Errorf("delete a namespace that is on its way out: %v", err)
		}
	}
}

func testOwn(t *testing.T, c apply.Target) {
	fill(t, c)
	for range 2 {
		state, err := c.State(t.Context(), "proj", apply.Everything())
		check(t, err)
		if state.Namespace.Labels["mine"] != "" || state.Pods[0].Labels["mine"] != "" || state.Deployments[0].Labels["mine"] != "" {
			t.Fatal("what one reader wrote into an object, the next one reads")
		}
		for _, obj := range []metav1.Object{state.Namespace, state.Pods[0], state.Deployments[0]} {
			obj.SetLabels(map[string]string{"mine": "x"})
		}
	}
}

func testWatch(t *testing.T, c apply.Target) {
	fill(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []string
	err := c.WatchPods(ctx, "proj", func(e apply.PodEvent) bool {
		what := ""
		switch {
		case e.Synced:
			what = "synced"
			check(t, c.Create(ctx, pod("two")))
			check(t, c.Delete(ctx, "Pod", "proj", "two", new(int64)))
		case e.Deleted:
			what = "-" + e.Pod.Name
		default:
			what = "+" + e.Pod.Name
		}
		if len(seen) == 0 || seen[len(seen)-1] != what { // a change of what is there is shown again
			seen = append(seen, what)
		}
		return !e.Deleted
	})
	check(t, err)
	if diff := cmp.Diff([]string{"+one", "synced", "+two", "-two"}, seen); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func testWatchEnds(t *testing.T, c apply.Target) {
	fill(t, c)
	events := 0
	if err := c.WatchPods(t.Context(), "proj", func(apply.PodEvent) bool { events++; return false }); err != nil || events != 1 {
		t.Errorf("a reader that has enough: %d events, %v", events, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.WatchPods(ctx, "proj", func(e apply.PodEvent) bool {
		if e.Synced {
			cancel()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a watch whose context ended: %v", err)
	}
}

func testWaitGone(t *testing.T, c apply.Target) {
	fill(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.WaitGone(ctx, "ConfigMap", "proj", "none"); err != nil {
		t.Errorf("wait for what is not there: %v", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.WaitGone(ctx, "ConfigMap", "proj", "conf") }()
	check(t, c.Delete(ctx, "ConfigMap", "proj", "conf", nil))
	if err := <-gone; err != nil {
		t.Errorf("wait for a deletion: %v", err)
	}
}
