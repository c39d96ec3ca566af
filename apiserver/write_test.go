package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var ctx = context.Background()

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

func TestDelete(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	foreground, orphan := metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan
	for name, want := range map[*metav1.DeletionPropagation]string{&foreground: "foregroundDeletion", &orphan: "orphan"} {
		create(t, c, configMap("p", nil))
		if err := maps.Delete(ctx, "p", metav1.DeleteOptions{PropagationPolicy: name}); err != nil {
			t.Fatal(err)
		}
		waiting, err := maps.Get(ctx, "p", metav1.GetOptions{})
		if err != nil || len(waiting.Finalizers) != 1 || waiting.Finalizers[0] != want || waiting.DeletionTimestamp == nil {
			t.Fatalf("%s: %v, %+v", want, err, waiting.ObjectMeta)
		}
		// The last finalizer takes the object with it.
		if _, err := maps.Patch(ctx, "p", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := maps.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: after its finalizer went: %v, want not found", want, err)
		}
	}
	held := configMap("held", nil)
	held.Finalizers = []string{"example.com/hold"}
	create(t, c, held)
	if err := maps.Delete(ctx, "held", metav1.DeleteOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := maps.Get(ctx, "held", metav1.GetOptions{}); err != nil || got.DeletionTimestamp != nil {
		t.Fatalf("a dry run deleted: %v, %+v", err, got.ObjectMeta)
	}
	// A second deletion of what is on its way out changes nothing: not the object, not the revision, and no watcher hears of it.
	if err := maps.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	first, err := maps.Get(ctx, "held", metav1.GetOptions{})
	if err != nil || first.DeletionTimestamp == nil {
		t.Fatalf("after the first deletion: %v, %+v", err, first.ObjectMeta)
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := maps.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second, err := maps.Get(ctx, "held", metav1.GetOptions{})
	if diff := cmp.Diff(first, second); err != nil || diff != "" {
		t.Errorf("the second deletion changed the object (-first +second), %v:\n%s", err, diff)
	}
	create(t, c, configMap("after", nil))
	if e := <-w.ResultChan(); e.Object.(*corev1.ConfigMap).Name != "after" {
		t.Errorf("the second deletion is an event: %s of %+v", e.Type, e.Object)
	}
}

func TestPodGrace(t *testing.T) {
	s := apiservertest.New(t)
	pods := client(t, s.Config).CoreV1().Pods("default")
	if _, err := pods.Create(ctx, pod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := pods.Bind(ctx, bind, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, bind, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("second binding: %v, want a conflict", err)
	}
	p, err := pods.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || p.Spec.NodeName != "n" {
		t.Fatalf("after the binding: %v, node %q", err, p.Spec.NodeName)
	}
	if err := pods.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err = pods.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || p.DeletionGracePeriodSeconds == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("after the first delete: %v, %+v", err, p.ObjectMeta)
	}
	long, short, none := int64(60), int64(5), int64(0)
	for _, step := range []struct {
		ask  *int64
		want int64
	}{{&long, 30}, {&short, 5}} {
		if err := pods.Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: step.ask}); err != nil {
			t.Fatal(err)
		}
		if p, _ = pods.Get(ctx, "a", metav1.GetOptions{}); *p.DeletionGracePeriodSeconds != step.want {
			t.Fatalf("asked for %d: %d left, want %d", *step.ask, *p.DeletionGracePeriodSeconds, step.want)
		}
	}
	wrong := types.UID("another")
	if err := pods.Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
		t.Fatalf("delete of another pod of the name: %v, want a conflict", err)
	}
	if err := pods.Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	if _, err = pods.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after the last delete: %v, want not found", err)
	}
}

func TestDeleteCollectionAndEviction(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	for i := range 3 {
		create(t, c, configMap(fmt.Sprint("m", i), map[string]string{"odd": fmt.Sprint(i % 2)}))
	}
	if err := c.CoreV1().ConfigMaps("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "odd=0"}); err != nil {
		t.Fatal(err)
	}
	if left, err := c.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 1 || left.Items[0].Name != "m1" {
		t.Fatalf("left: %v, %+v", err, left.Items)
	}
	if _, err := c.CoreV1().Pods("default").Create(ctx, pod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Pods("default").EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}}); err != nil {
		t.Fatalf("evict: %v", err)
	}
	if _, err := c.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after the eviction: %v, want not found", err)
	}
}

func TestStatusAndScale(t *testing.T) {
	s := apiservertest.New(t)
	deployments := client(t, s.Config).AppsV1().Deployments("default")
	two := int32(2)
	labels := map[string]string{"app": "web"}
	d, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("").Spec}},
		Status: appsv1.DeploymentStatus{Replicas: 7},
	}, metav1.CreateOptions{})
	if err != nil || d.Status.Replicas != 0 || d.Generation != 1 {
		t.Fatalf("create: %v, generation %d, status %+v", err, d.Generation, d.Status)
	}
	d.Status.Replicas, d.Spec.Replicas = 2, nil
	d, err = deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if err != nil || d.Status.Replicas != 2 || *d.Spec.Replicas != 2 || d.Generation != 1 {
		t.Fatalf("update the status: %v, %+v", err, d)
	}
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 2 || scale.Status.Selector != "app=web" || scale.ResourceVersion != d.ResourceVersion {
		t.Fatalf("get the scale: %v, %+v", err, scale)
	}
	stale := scale.DeepCopy()
	scale.Spec.Replicas = 5
	if scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 5 {
		t.Fatalf("update the scale: %v, %+v", err, scale)
	}
	if _, err := deployments.UpdateScale(ctx, "web", stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("update a stale scale: %v, want a conflict", err)
	}
	if _, err := deployments.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	d, err = deployments.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 6 || d.Generation != 3 || d.Status.Replicas != 2 {
		t.Fatalf("after scaling: %v, %+v", err, d)
	}
}

func TestApply(t *testing.T) {
	s := apiservertest.New(t)
	maps := client(t, s.Config).CoreV1().ConfigMaps("default")
	mine := applycorev1.ConfigMap("a", "default").WithData(map[string]string{"k": "1"})
	first, err := maps.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "me"})
	if err != nil || first.Data["k"] != "1" {
		t.Fatalf("apply: %v, %+v", err, first)
	}
	again, err := maps.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "me"})
	if err != nil || again.ResourceVersion != first.ResourceVersion {
		t.Fatalf("apply what is there: %v, version %s, want %s", err, again.ResourceVersion, first.ResourceVersion)
	}
	theirs := applycorev1.ConfigMap("a", "default").WithData(map[string]string{"k": "2", "l": "3"})
	if _, err := maps.Apply(ctx, theirs, metav1.ApplyOptions{FieldManager: "they"}); !apierrors.IsConflict(err) {
		t.Fatalf("apply over another's field: %v, want a conflict", err)
	}
	forced, err := maps.Apply(ctx, theirs, metav1.ApplyOptions{FieldManager: "they", Force: true})
	if err != nil || forced.Data["k"] != "2" || forced.Data["l"] != "3" {
		t.Fatalf("apply by force: %v, %+v", err, forced)
	}
	// Whoever lets go of the last field that is set takes it away.
	gone, err := maps.Apply(ctx, applycorev1.ConfigMap("a", "default").WithData(map[string]string{"k": "2"}), metav1.ApplyOptions{FieldManager: "they"})
	if err != nil || gone.Data["l"] != "" || len(gone.Data) != 1 {
		t.Fatalf("apply less: %v, %+v", err, gone.Data)
	}
}

// TestRacingPatches: patches that meet are all done, one after the other.
func TestRacingPatches(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	create(t, c, configMap("a", nil))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := c.CoreV1().ConfigMaps("default").Patch(ctx, "a", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"v"}}`, i), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := c.CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{}); err != nil || len(got.Data) != 21 {
		t.Fatalf("%v, %d keys, want 21", err, len(got.Data))
	}
}

func TestGenerateName(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	cm := configMap("", nil)
	cm.GenerateName = "base-"
	made := create(t, c, cm)
	if !strings.HasPrefix(made.Name, "base-") || len(made.Name) != len("base-")+5 {
		t.Fatalf("generated %q", made.Name)
	}
}

func TestEventsInTwoGroups(t *testing.T) {
	s := apiservertest.New(t)
	for form, config := range forms(s) {
		c := client(t, config)
		e := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e-" + form, Namespace: "default"}, EventTime: metav1.NowMicro(), Action: "Boil", Reason: "Tea", Type: "Normal",
			ReportingController: "example.com/kettle", ReportingInstance: "kettle-1", Note: "it boils", Regarding: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"},
		}
		if _, err := c.EventsV1().Events("default").Create(ctx, e, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		old, err := c.CoreV1().Events("default").Get(ctx, e.Name, metav1.GetOptions{})
		if err != nil || old.Message != "it boils" || old.InvolvedObject.Name != "p" {
			t.Fatalf("%s: in core: %v, %+v", form, err, old)
		}
		for _, field := range []string{"source=example.com/kettle", "reportingComponent=example.com/kettle", "involvedObject.name=p,reason=Tea"} {
			found, err := c.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: field})
			if err != nil || !slices.ContainsFunc(found.Items, func(i corev1.Event) bool { return i.Name == e.Name }) {
				t.Errorf("%s: in core by %s: %v, %+v", form, field, err, found)
			}
		}
		for _, field := range []string{"reportingController=example.com/kettle", "regarding.name=p,reason=Tea"} {
			found, err := c.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: field})
			if err != nil || !slices.ContainsFunc(found.Items, func(i eventsv1.Event) bool { return i.Name == e.Name }) {
				t.Errorf("%s: by %s: %v, %+v", form, field, err, found)
			}
		}
		list, err := c.EventsV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 || list.Items[len(list.Items)-1].Note != "it boils" || list.Items[0].ResourceVersion == "" {
			t.Fatalf("%s: list: %v, %+v", form, err, list)
		}
		w, err := c.EventsV1().Events("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := next(t, w).Object.(*eventsv1.Event); got.Note != "it boils" || got.ResourceVersion == "" {
			t.Fatalf("%s: watch: %+v", form, got)
		}
		w.Stop()
	}
}

func TestTokens(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	p, err := c.CoreV1().Pods("default").Create(ctx, pod("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seconds := int64(600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "a", UID: p.UID}}}
	made, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", request, metav1.CreateOptions{})
	if err != nil || made.Status.Token == "" || made.Status.ExpirationTimestamp.Before(&metav1.Time{Time: time.Now().Add(9 * time.Minute)}) {
		t.Fatalf("token: %v, %+v", err, made)
	}
	config := s.Anonymous()
	config.BearerToken = made.Status.Token
	account := client(t, config)
	if _, err := account.Discovery().ServerGroups(); err != nil {
		t.Fatalf("discovery with the token: %v", err)
	}
	_, err = account.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	want := `pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Fatalf("list with the token: %v, want %s", err, want)
	}
	config.BearerToken = made.Status.Token[:len(made.Status.Token)-3] + "AAA"
	if _, err := client(t, config).Discovery().ServerGroups(); !apierrors.IsUnauthorized(err) {
		t.Fatalf("discovery with a forged token: %v, want unauthorized", err)
	}
	none := int64(0)
	if err := c.CoreV1().Pods("default").Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	if _, err := account.Discovery().ServerGroups(); !apierrors.IsUnauthorized(err) {
		t.Fatalf("discovery with the token of a pod that is gone: %v, want unauthorized", err)
	}
}

func TestIdentities(t *testing.T) {
	s := apiservertest.New(t)
	anonymous := client(t, s.Anonymous())
	if _, err := anonymous.Discovery().ServerVersion(); err != nil {
		t.Errorf("version for anyone: %v", err)
	}
	if _, err := anonymous.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("list for anyone: %v, want unauthorized", err)
	}
	nobody := client(t, s.Client(t, "nobody"))
	if _, err := nobody.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "at the cluster scope") {
		t.Errorf("list for somebody: %v, want forbidden", err)
	}
	node := client(t, s.Client(t, "system:node:n1", "system:nodes"))
	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a node registers: %v", err)
	}
	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a node registers another: %v, want forbidden", err)
	}
	if _, err := s.Local().Create(ctx, pod("other")); err != nil {
		t.Fatal(err)
	}
	none := int64(0)
	if err := node.CoreV1().Pods("default").Delete(ctx, "other", metav1.DeleteOptions{GracePeriodSeconds: &none}); !apierrors.IsForbidden(err) {
		t.Errorf("a node deletes another's pod: %v, want forbidden", err)
	}
	scheduler := s.As(authn.User{Name: "system:kube-scheduler"})
	if _, err := scheduler.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}}); !apierrors.IsForbidden(err) {
		t.Errorf("the scheduler makes a secret: %v, want forbidden", err)
	}
}

// TestImpersonation: who may act as others has their rights and no more; who may not is refused.
func TestImpersonation(t *testing.T) {
	s := apiservertest.New(t)
	admin := rest.CopyConfig(s.Config)
	admin.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	if _, err := client(t, admin).CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "nobody"`) {
		t.Errorf("an administrator as nobody: %v, want forbidden", err)
	}
	admin.Impersonate = rest.ImpersonationConfig{UserName: "deputy", Groups: []string{"system:masters"}}
	if _, err := client(t, admin).CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("an administrator as another: %v", err)
	}
	nobody := s.Client(t, "nobody")
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}}
	_, err := client(t, nobody).CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
	if want := `users "admin" is forbidden: User "nobody" cannot impersonate resource "users" in API group "" at the cluster scope`; err == nil || err.Error() != want {
		t.Errorf("nobody as an administrator: %v, want %s", err, want)
	}
}

// TestLocal: the door inside the process runs the same pipeline, and what it gives belongs to the caller.
func TestLocal(t *testing.T) {
	s := apiservertest.New(t)
	door := s.Local()
	given := pod("a")
	made, err := door.Create(ctx, given)
	if err != nil {
		t.Fatal(err)
	}
	if given.UID != "" || given.Spec.ServiceAccountName != "" {
		t.Error("create changed what it was given")
	}
	p := made.(*corev1.Pod)
	if p.Spec.ServiceAccountName != "default" || p.Status.Phase != corev1.PodPending || len(p.ManagedFields) != 1 || p.ManagedFields[0].Manager != "admin" {
		t.Errorf("incomplete: %+v", p)
	}
	p.Labels = map[string]string{"mine": "yes"}
	seen, err := door.Get(ctx, corev1.SchemeGroupVersion.WithResource("pods"), "default", "a")
	if err != nil || seen.GetLabels() != nil {
		t.Errorf("a change of the result shows: %v, %v", err, seen.GetLabels())
	}
	bad := pod("Bad")
	if _, err := door.Create(ctx, bad); !apierrors.IsInvalid(err) {
		t.Errorf("create an invalid pod: %v, want invalid", err)
	}
	p.ResourceVersion = "1"
	if _, err := door.Update(ctx, p); !apierrors.IsConflict(err) {
		t.Errorf("update a stale pod: %v, want a conflict", err)
	}
	p = seen.(*corev1.Pod)
	p.Status.Phase = corev1.PodRunning
	if after, err := door.UpdateStatus(ctx, p); err != nil || after.(*corev1.Pod).Status.Phase != corev1.PodRunning {
		t.Errorf("update the status: %v", err)
	}
	if _, err := door.CreateSub(ctx, corev1.SchemeGroupVersion.WithResource("pods"), "default", "a", "binding",
		&corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Target: corev1.ObjectReference{Name: "n"}}); err != nil {
		t.Errorf("bind: %v", err)
	}
	if err := door.Delete(ctx, corev1.SchemeGroupVersion.WithResource("pods"), "default", "none", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("delete what is not there: %v, want not found", err)
	}
}

func TestServiceAddresses(t *testing.T) {
	s := apiservertest.New(t)
	services := client(t, s.Config).CoreV1().Services("default")
	svc := func(name, ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	a, err := services.Create(ctx, svc("a", ""), metav1.CreateOptions{})
	if err != nil || a.Spec.ClusterIP == "" {
		t.Fatalf("create: %v, %q", err, a.Spec.ClusterIP)
	}
	if _, err := services.Create(ctx, svc("b", a.Spec.ClusterIP), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Fatalf("create with a taken address: %v, want invalid", err)
	}
	if err := services.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(ctx, svc("b", a.Spec.ClusterIP), metav1.CreateOptions{}); err != nil {
		t.Fatalf("create with a freed address: %v", err)
	}
	s.Stop()
	// After a restart what was taken still is.
	again := apiservertest.New(t, apiservertest.Options{Store: s.Store})
	if _, err := client(t, again.Config).CoreV1().Services("default").Create(ctx, svc("c", a.Spec.ClusterIP), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Fatalf("create with a taken address after a restart: %v, want invalid", err)
	}
}

// TestOldEventsGo: events are removed an hour after they last happened, not before.
func TestOldEventsGo(t *testing.T) {
	var ahead atomic.Int64
	s := apiservertest.New(t, apiservertest.Options{Change: func(c *apiserver.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	for name, in := range map[string]time.Duration{"once": 0, "again": 90 * time.Minute} {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
			LastTimestamp: metav1.NewTime(time.Now().Add(in))}
		if _, err := s.Local().Create(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	events := client(t, s.Config).CoreV1().Events("default")
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{50 * time.Minute, 2}, {2 * time.Hour, 1}, {3 * time.Hour, 0}} {
		ahead.Store(int64(step.after))
		s.RemoveEvents(ctx)
		if left, err := events.List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != step.left {
			t.Fatalf("after %v: %v, %d left, want %d", step.after, err, len(left.Items), step.left)
		}
	}
}

// TestPanic: a defect costs one request.
func TestPanic(t *testing.T) {
	table := kinds.All()
	table.ByResource(corev1.SchemeGroupVersion.WithResource("configmaps")).Default = func(obj registry.Object) {
		if obj.GetName() == "boom" {
			panic("boom")
		}
	}
	s := apiservertest.New(t, apiservertest.Options{Change: change(table)})
	c := client(t, s.Config)
	_, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("boom", nil), metav1.CreateOptions{})
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusInternalServerError {
		t.Fatalf("got %v, want a status with code 500", err)
	}
	create(t, c, configMap("fine", nil))
}

func TestStopEndsWatches(t *testing.T) {
	s := apiservertest.New(t)
	w, err := client(t, s.Config).CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("the server took %v to stop", took)
	}
	for range w.ResultChan() { // it ends
	}
}

// change serves another table of kinds.
func change(table *registry.Snapshot) func(*apiserver.Config) {
	return func(c *apiserver.Config) { c.Kinds = table }
}

// TestStopLeavesNothing: no goroutine outlives Run.
func TestStopLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	s := apiservertest.New(t)
	transport := &http.Transport{}
	config := rest.CopyConfig(s.Config)
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	transport.TLSClientConfig = tlsConfig
	resp, err := (&http.Client{Transport: transport}).Get(s.Config.Host + "/api/v1/pods?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	_ = resp.Body.Close() // the server has closed it already
	transport.CloseIdleConnections()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}
