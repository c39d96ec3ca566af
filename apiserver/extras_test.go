package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

const (
	extrasText   = `{"version":"v1","containers":{"c":{"user":"root"}}}`
	extrasQuoted = `{\"version\":\"v1\",\"containers\":{\"c\":{\"user\":\"root\"}}}`
	annotated    = `"metadata":{"annotations":{"engine.cuppa.dev/extras":"` + extrasQuoted + `"}}`
)

// TestExtrasAreComposesAlone holds that no verb, patch form or subresource lets anybody but Compose ask a node's engine for something.
func TestExtrasAreComposesAlone(t *testing.T) {
	s := apiservertest.New(t)
	admin, compose := client(t, s.Config), client(t, s.Client(t, "compose", api.GroupCompose))
	if _, err := admin.CoreV1().Pods("default").Create(ctx, pod("plain"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := admin.CoreV1().Pods("default")
	patch := func(form types.PatchType, body string, subresources ...string) error {
		_, err := pods.Patch(ctx, "plain", form, []byte(body), metav1.PatchOptions{}, subresources...)
		return err
	}
	force := true
	for name, try := range map[string]func() error{
		"create": func() error {
			p := pod("other")
			p.Annotations = map[string]string{api.AnnotationExtras: extrasText}
			_, err := pods.Create(ctx, p, metav1.CreateOptions{})
			return err
		},
		"create without storing": func() error {
			p := pod("other")
			p.Annotations = map[string]string{api.AnnotationExtras: extrasText}
			_, err := pods.Create(ctx, p, metav1.CreateOptions{DryRun: []string{"All"}})
			return err
		},
		"update": func() error {
			p, err := pods.Get(ctx, "plain", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Annotations = map[string]string{api.AnnotationExtras: extrasText}
			_, err = pods.Update(ctx, p, metav1.UpdateOptions{})
			return err
		},
		"merge patch":     func() error { return patch(types.MergePatchType, "{"+annotated+"}") },
		"strategic patch": func() error { return patch(types.StrategicMergePatchType, "{"+annotated+"}") },
		"json patch": func() error {
			return patch(types.JSONPatchType, `[{"op":"add","path":"/metadata/annotations","value":{"engine.cuppa.dev/extras":"`+extrasQuoted+`"}}]`)
		},
		"status patch": func() error { return patch(types.MergePatchType, "{"+annotated+"}", "status") },
		"apply": func() error {
			_, err := pods.Patch(ctx, "plain", types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Pod",`+annotated+`}`), metav1.PatchOptions{FieldManager: "x", Force: &force})
			return err
		},
		"apply anew": func() error {
			body := `{"apiVersion":"v1","kind":"Pod",` + annotated + `,"spec":{"containers":[{"name":"c","image":"i"}]}}`
			_, err := pods.Patch(ctx, "new", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "x", Force: &force})
			return err
		},
		"binding": func() error {
			return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "plain", Annotations: map[string]string{api.AnnotationExtras: extrasText}},
				Target: corev1.ObjectReference{Name: "n1"}}, metav1.CreateOptions{})
		},
		"replicaset of compose's deployment": func() error {
			web := composes(t, compose)
			yes := true
			set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "default", OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "Deployment", Name: web.Name, UID: web.UID, Controller: &yes}}},
				Spec: appsv1.ReplicaSetSpec{Selector: web.Spec.Selector, Template: web.Spec.Template}}
			_, err := admin.AppsV1().ReplicaSets("default").Create(ctx, set, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "metadata.annotations[engine.cuppa.dev/extras]: user \"admin\" may not set") {
			t.Errorf("%s: %v, want forbidden", name, err)
		}
	}
	if p, err := pods.Get(ctx, "plain", metav1.GetOptions{}); err != nil || len(p.Annotations) > 0 {
		t.Errorf("after all that the pod has %v, %v", p.Annotations, err)
	}
}

// composes makes a deployment as Compose would, or finds it.
func composes(t *testing.T, c kubernetes.Interface) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{api.AnnotationExtras: extrasText}},
			Spec: pod("x").Spec}}}
	made, err := c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = c.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestExtrasLeaveOthersTheirWork holds that everybody goes on working with Compose's deployments as with any.
func TestExtrasLeaveOthersTheirWork(t *testing.T) {
	s := apiservertest.New(t)
	admin := client(t, s.Config).AppsV1().Deployments("default")
	composes(t, client(t, s.Client(t, "compose", api.GroupCompose)))
	for name, body := range map[string]string{
		"rollout restart": `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`,
		"set image":       `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`,
		"scale":           `{"spec":{"replicas":3}}`,
		"label":           `{"metadata":{"labels":{"team":"a"}}}`,
	} {
		if _, err := admin.Patch(ctx, "web", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	scale, err := admin.GetScale(ctx, "web", metav1.GetOptions{})
	if err == nil {
		scale.Spec.Replicas = 2
		_, err = admin.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Errorf("scale by its subresource: %v", err)
	}
	edited, err := admin.Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edited.Spec.Template.Spec.Containers[0].Command = []string{"x"}
	if _, err := admin.Update(ctx, edited, metav1.UpdateOptions{}); err != nil {
		t.Errorf("edit: %v", err)
	}
	if err := admin.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// TestNobodyActsAsCompose holds that Compose's group is had by its certificate alone.
func TestNobodyActsAsCompose(t *testing.T) {
	s := apiservertest.New(t)
	for who, config := range map[string]*rest.Config{"admin": s.Config, "compose": s.Client(t, "compose", api.GroupCompose)} {
		config := rest.CopyConfig(config)
		config.Impersonate = rest.ImpersonationConfig{UserName: "me", Groups: []string{api.GroupCompose}}
		_, err := client(t, config).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s as compose: %v, want forbidden", who, err)
		}
		want := fmt.Sprintf("groups %q is forbidden: User %q cannot impersonate", api.GroupCompose, who)
		if who == "admin" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nobody may act as Compose")) {
			t.Errorf("%s as compose: %v, want %s", who, err, want)
		}
	}
}
