package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/controller"
	"github.com/cuppa-project/cuppa/internal/pki"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
)

// patience bounds every wait; what is waited for takes milliseconds.
const patience = 20 * time.Second

// world is the real API server in this process with all controllers, and no nodes: tests play the kubelet.
type world struct {
	kube.Cluster
	t      *testing.T
	ctx    context.Context
	writes map[string]*kubetest.Interceptor // of each controller
	server *apiserver.Server
	ca     *pki.Authority
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := apiservertest.New(t, apiservertest.Options{Bare: true})
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	writes := map[string]*kubetest.Interceptor{}
	ca, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	parts := controller.Parts(controller.Config{
		Cluster: func(name string) kube.Cluster {
			writes[name] = kubetest.Intercept(local.New(server.Server, authn.User{Name: "system:controller:" + name}, logger))
			return writes[name]
		},
		Logger: logger, PodCIDR: netip.MustParsePrefix("10.42.0.0/16"), RootCA: []byte("the root"), Sign: ca.Sign,
	})
	go func() { done <- run.Group(ctx, parts...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
	admin := local.New(server.Server, authn.User{Name: "admin", Groups: []string{api.GroupMasters}}, logger)
	w := &world{Cluster: admin, t: t, ctx: ctx, writes: writes, server: server.Server, ca: ca}
	// Pods need the account that a controller makes.
	w.until(func() error {
		if _, ok := kube.Get[*corev1.ServiceAccount](w, kube.ServiceAccounts, "default", "default"); !ok {
			return fmt.Errorf("no default service account")
		}
		return nil
	})
	return w
}

// until waits for check to succeed, looking again at every change of any resource that tests touch.
func (w *world) until(check func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	changed := make(chan struct{}, 1)
	poke := func(kube.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	resources, err := w.Resources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, res := range resources {
		if err := w.Source(res.GroupVersionResource).Watch(ctx, poke); err != nil {
			w.t.Fatal(err)
		}
	}
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("not within %s: %v", patience, err)
		}
	}
}

func (w *world) create(obj kube.Object) kube.Object {
	w.t.Helper()
	out, err := w.Create(w.ctx, obj)
	if err != nil {
		w.t.Fatalf("create %s: %v", obj.GetName(), err)
	}
	return out
}

func template(image string, annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: annotations},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
}

func deployment(replicas int32, t corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: t}}
}

// pods are the live pods of app web.
func (w *world) pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range kube.List[*corev1.Pod](w, kube.Pods, "default", nil) {
		if p.Labels["app"] == "web" && p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}

// kubelet makes every pod that waits run and be ready.
func (w *world) kubelet() {
	w.t.Helper()
	for i, p := range w.pods() {
		if kube.PodReady(p) {
			continue
		}
		p = p.DeepCopy()
		ip := fmt.Sprintf("10.42.0.%d", i+10)
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := w.UpdateStatus(w.ctx, p); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) count(n int) func() error {
	return func() error {
		if got := len(w.pods()); got != n {
			return fmt.Errorf("%d pods, want %d", got, n)
		}
		return nil
	}
}

func (w *world) rolledOut(replicas int32) func() error {
	return func() error {
		w.kubelet()
		d, ok := kube.Get[*appsv1.Deployment](w, kube.Deployments, "default", "web")
		s := d.Status
		if !ok || s.ObservedGeneration != d.Generation || s.AvailableReplicas != replicas || s.UpdatedReplicas != replicas || s.Replicas != replicas {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	}
}

func TestDeploymentFromTemplateToRollout(t *testing.T) {
	w := newWorld(t)
	w.create(deployment(3, template("web:1", nil)))
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": "web"}}})
	w.until(w.rolledOut(3))
	w.until(func() error {
		ready := 0
		for _, s := range kube.List[*discoveryv1.EndpointSlice](w, kube.EndpointSlices, "default", nil) {
			for _, e := range s.Endpoints {
				if *e.Conditions.Ready {
					ready++
				}
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d ready endpoints, want 3", ready)
		}
		return nil
	})
	if _, err := kube.MergePatch(w.ctx, w, kube.Deployments, "default", "web", map[string]any{"spec": map[string]any{
		"template": map[string]any{"spec": map[string]any{"containers": []map[string]any{{"name": "c", "image": "web:2"}}}}}}); err != nil {
		t.Fatal(err)
	}
	w.until(w.rolledOut(3))
	for _, p := range w.pods() {
		if p.Spec.Containers[0].Image != "web:2" {
			t.Errorf("pod %s still runs %s", p.Name, p.Spec.Containers[0].Image)
		}
	}
	d, _ := kube.Get[*appsv1.Deployment](w, kube.Deployments, "default", "web")
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "2" {
		t.Errorf("revision: got %q, want 2", got)
	}
}

func TestNumbersStayWithoutGaps(t *testing.T) {
	w := newWorld(t)
	w.create(deployment(4, template("web:1", map[string]string{api.AnnotationNumbered: "true"})))
	numbers := func(want string) func() error {
		return func() error {
			seen := map[string]bool{}
			for _, p := range w.pods() {
				seen[p.Labels[api.LabelNumber]] = true
			}
			got := ""
			for i := 1; i < 10; i++ {
				if seen[fmt.Sprint(i)] {
					got += fmt.Sprint(i)
				}
			}
			if got != want || len(w.pods()) != len(want) {
				return fmt.Errorf("numbers %s of %d pods, want %s", got, len(w.pods()), want)
			}
			return nil
		}
	}
	w.until(numbers("1234"))
	for _, p := range w.pods() {
		if p.Labels[api.LabelNumber] == "2" {
			if err := w.Delete(w.ctx, kube.Pods, "default", p.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until(numbers("1234"))
	if _, err := kube.MergePatch(w.ctx, w, kube.Deployments, "default", "web", map[string]any{"spec": map[string]any{"replicas": 2}}); err != nil {
		t.Fatal(err)
	}
	w.until(numbers("12"))
}

func TestDeletePropagation(t *testing.T) {
	for _, c := range []struct {
		policy metav1.DeletionPropagation
		left   int
	}{{metav1.DeletePropagationBackground, 0}, {metav1.DeletePropagationForeground, 0}, {metav1.DeletePropagationOrphan, 2}} {
		t.Run(string(c.policy), func(t *testing.T) {
			w := newWorld(t)
			w.create(deployment(2, template("web:1", nil)))
			w.until(w.count(2))
			set := kube.List[*appsv1.ReplicaSet](w, kube.ReplicaSets, "default", nil)[0]
			// The Deployment would make another set, so it goes first, without its dependents.
			orphan := metav1.DeletePropagationOrphan
			if err := w.Delete(w.ctx, kube.Deployments, "default", "web", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
				t.Fatal(err)
			}
			w.until(func() error {
				if _, ok := kube.Get[*appsv1.Deployment](w, kube.Deployments, "default", "web"); ok {
					return fmt.Errorf("the Deployment is still there")
				}
				rs, ok := kube.Get[*appsv1.ReplicaSet](w, kube.ReplicaSets, "default", set.Name)
				if !ok || len(rs.OwnerReferences) != 0 {
					return fmt.Errorf("the ReplicaSet was not orphaned (there: %v)", ok)
				}
				return nil
			})
			if err := w.Delete(w.ctx, kube.ReplicaSets, "default", set.Name, metav1.DeleteOptions{PropagationPolicy: &c.policy}); err != nil {
				t.Fatal(err)
			}
			w.until(func() error {
				if _, ok := kube.Get[*appsv1.ReplicaSet](w, kube.ReplicaSets, "default", set.Name); ok {
					return fmt.Errorf("the ReplicaSet is still there")
				}
				return w.count(c.left)()
			})
			for _, p := range w.pods() {
				if len(p.OwnerReferences) != 0 {
					t.Errorf("pod %s still names an owner", p.Name)
				}
			}
		})
	}
}

// TestCircleOfOwners: three objects that own each other, each blocking the next, all go when one is deleted in the foreground.
func TestCircleOfOwners(t *testing.T) {
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	made := map[string]kube.Object{}
	for _, name := range names {
		made[name] = w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
	}
	for i, name := range names {
		owner := made[names[(i+1)%len(names)]]
		refs := []map[string]any{{"apiVersion": "v1", "kind": "ConfigMap", "name": owner.GetName(), "uid": owner.GetUID(), "blockOwnerDeletion": true}}
		if _, err := kube.MergePatch(w.ctx, w, kube.ConfigMaps, "default", name, map[string]any{"metadata": map[string]any{"ownerReferences": refs}}); err != nil {
			t.Fatal(err)
		}
	}
	foreground := metav1.DeletePropagationForeground
	if err := w.Delete(w.ctx, kube.ConfigMaps, "default", "a", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		for _, name := range names {
			if obj, there := kube.Get[*corev1.ConfigMap](w, kube.ConfigMaps, "default", name); there {
				return fmt.Errorf("%s is there, owned by %v, finalizers %v", name, obj.OwnerReferences, obj.Finalizers)
			}
		}
		return nil
	})
}

func TestNamespaceGoesWithAllThatIsInIt(t *testing.T) {
	w := newWorld(t)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gone"}})
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "gone", Name: "a"}})
	held := w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "gone", Name: "held", Finalizers: []string{"example.com/hold"}}})
	if err := w.Delete(w.ctx, kube.Namespaces, "", "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		if left := kube.List[*corev1.ConfigMap](w, kube.ConfigMaps, "gone", nil); len(left) != 1 {
			return fmt.Errorf("%d config maps left, want the one that is held", len(left))
		}
		return nil
	})
	if _, ok := kube.Get[*corev1.Namespace](w, kube.Namespaces, "", "gone"); !ok {
		t.Fatal("the namespace went before its content")
	}
	if _, err := kube.MergePatch(w.ctx, w, kube.ConfigMaps, "gone", held.GetName(), map[string]any{"metadata": map[string]any{"finalizers": nil}}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		if _, ok := kube.Get[*corev1.Namespace](w, kube.Namespaces, "", "gone"); ok {
			return fmt.Errorf("the namespace is still there")
		}
		return nil
	})
}

// TestPodsGoFirst: as long as a pod is left in a namespace that goes, everything else in it stays, and the status says what it waits for.
func TestPodsGoFirst(t *testing.T) {
	w := newWorld(t)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	w.until(func() error {
		if _, ok := kube.Get[*corev1.ServiceAccount](w, kube.ServiceAccounts, "shop", "default"); !ok {
			return fmt.Errorf("no default service account")
		}
		return nil
	})
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "policy"}})
	w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Finalizers: []string{"example.com/hold"}}, Spec: template("web:1", nil).Spec})
	if err := w.Delete(w.ctx, kube.Namespaces, "", "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		ns, _ := kube.Get[*corev1.Namespace](w, kube.Namespaces, "", "shop")
		for _, c := range ns.Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Message == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances" {
				return nil
			}
		}
		return fmt.Errorf("conditions: %+v", ns.Status.Conditions)
	})
	if kept, ok := kube.Get[*corev1.ConfigMap](w, kube.ConfigMaps, "shop", "policy"); !ok || kept.DeletionTimestamp != nil {
		t.Error("what protects a pod goes before the pod")
	}
	if _, err := kube.MergePatch(w.ctx, w, kube.Pods, "shop", "p", map[string]any{"metadata": map[string]any{"finalizers": nil}}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		if ns, there := kube.Get[*corev1.Namespace](w, kube.Namespaces, "", "shop"); there {
			return fmt.Errorf("the namespace is there: %+v", ns.Status)
		}
		return nil
	})
}

func TestGateOpensWhenDependencyRuns(t *testing.T) {
	w := newWorld(t)
	labelled := func(name, service string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name,
			Labels: map[string]string{api.LabelProject: "p", api.LabelService: service}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	}
	waiting := labelled("web", "web")
	waiting.Annotations = map[string]string{api.AnnotationDependsOn: `[{"service":"db","condition":"service_started"}]`}
	waiting.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: api.GateDependsOn}}
	w.create(waiting)
	db := w.create(labelled("db", "db")).(*corev1.Pod)
	if p, _ := kube.Get[*corev1.Pod](w, kube.Pods, "default", "web"); len(p.Spec.SchedulingGates) != 1 {
		t.Fatal("the gate opened before the dependency ran")
	}
	db.Status.Phase = corev1.PodRunning
	db.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Image: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
	if _, err := w.UpdateStatus(w.ctx, db); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		if p, _ := kube.Get[*corev1.Pod](w, kube.Pods, "default", "web"); len(p.Spec.SchedulingGates) != 0 {
			return fmt.Errorf("the gate is still closed")
		}
		return nil
	})
}

func TestRootCAIsPutRight(t *testing.T) {
	w := newWorld(t)
	right := func() error {
		cm, ok := kube.Get[*corev1.ConfigMap](w, kube.ConfigMaps, "default", "kube-root-ca.crt")
		if !ok || cm.Data["ca.crt"] != "the root" {
			return fmt.Errorf("there: %v", ok)
		}
		return nil
	}
	w.until(right)
	if _, err := kube.MergePatch(w.ctx, w, kube.ConfigMaps, "default", "kube-root-ca.crt", map[string]any{"data": map[string]any{"ca.crt": "forged"}}); err != nil {
		t.Fatal(err)
	}
	w.until(right)
	if err := w.Delete(w.ctx, kube.ConfigMaps, "default", "kube-root-ca.crt", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(right)
}

func TestReplicationController(t *testing.T) {
	w := newWorld(t)
	three, pods := int32(3), template("web:1", nil)
	w.create(&corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ReplicationControllerSpec{Replicas: &three, Selector: map[string]string{"app": "web"}, Template: &pods}})
	available := func(n int32) func() error {
		return func() error {
			w.kubelet()
			rc, ok := kube.Get[*corev1.ReplicationController](w, kube.ReplicationControllers, "default", "web")
			if !ok || rc.Status.AvailableReplicas != n || rc.Status.Replicas != n || rc.Status.ObservedGeneration != rc.Generation {
				return fmt.Errorf("there %v, want %d available", ok, n)
			}
			return nil
		}
	}
	w.until(available(3))
	if _, err := kube.MergePatch(w.ctx, w, kube.ReplicationControllers, "default", "web", map[string]any{"spec": map[string]any{"replicas": 1}}); err != nil {
		t.Fatal(err)
	}
	w.until(available(1))
	var created, deleted int
	w.until(func() error {
		created, deleted = 0, 0
		for _, e := range kube.List[*corev1.Event](w, kube.Events, "default", nil) {
			if e.InvolvedObject.Kind == "ReplicationController" && e.Source.Component == "replication-controller" {
				switch e.Reason {
				case "SuccessfulCreate":
					created++
				case "SuccessfulDelete":
					deleted++
				}
			}
		}
		if created != 3 || deleted != 2 {
			return fmt.Errorf("%d events of creation and %d of deletion, want 3 and 2", created, deleted)
		}
		return nil
	})
}
