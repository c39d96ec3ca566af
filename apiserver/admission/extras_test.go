package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

const (
	disk   = `{"version":"v1","containers":{"web":{"user":"root","devices":[{"host":"/dev/sda","path":"/dev/sda","access":"rwm"}]}}}`
	reaper = `{"version":"v1","containers":{"web":{"init":true}}}`
)

// asks are annotations that ask the engine for something; "" asks for nothing.
func asks(text string) map[string]string {
	if text == "" {
		return nil
	}
	return map[string]string{api.AnnotationExtras: text}
}

func podThat(annotations map[string]string, owner *metav1.OwnerReference) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "default", Annotations: annotations}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
	if owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return pod
}

func templateThat(annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
}

func deploymentThat(annotations map[string]string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "d"}, Spec: appsv1.DeploymentSpec{Template: templateThat(annotations)}}
}

func setThat(annotations map[string]string, owner *metav1.OwnerReference) *appsv1.ReplicaSet {
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web-abc", Namespace: "default", UID: "r"}, Spec: appsv1.ReplicaSetSpec{Template: templateThat(annotations)}}
	if owner != nil {
		set.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return set
}

func owned(kind, name, uid string) *metav1.OwnerReference {
	yes := true
	return &metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}
}

// TestEngineExtras asks the plugin about every way in, and writes down what it answers.
func TestEngineExtras(t *testing.T) {
	apps := func(resource string) *registry.Kind {
		return kinds.All().ByResource(appsv1.SchemeGroupVersion.WithResource(resource))
	}
	compose := authn.User{Name: "compose", Groups: []string{api.GroupCompose}}
	admin := authn.User{Name: "admin", Groups: []string{api.GroupMasters}}
	ann := authn.User{Name: "ann"}
	node := authn.User{Name: "system:node:n1", Groups: []string{api.GroupNodes}}
	loop := authn.User{Name: "system:controller:replicaset"}
	set, deployment := owned("ReplicaSet", "web-abc", "r"), owned("Deployment", "web", "d")
	store := world{
		"replicasets/default/web-abc": setThat(asks(disk), deployment),
		"deployments/default/web":     deploymentThat(asks(disk)),
		"pods/default/web-1":          podThat(asks(disk), set),
	}
	create := func(obj registry.Object, kind *registry.Kind) *Request {
		return &Request{Operation: Create, Kind: kind, Namespace: "default", Name: obj.GetName(), Object: obj}
	}
	update := func(sub string, old, obj registry.Object, kind *registry.Kind) *Request {
		return &Request{Operation: Update, Subresource: sub, Kind: kind, Namespace: "default", Name: obj.GetName(), Object: obj, Old: old}
	}
	pods, deployments, sets := kindOf("pods"), apps("deployments"), apps("replicasets")
	mirror := podThat(map[string]string{api.AnnotationExtras: disk, mirrorAnnotation: "x"}, nil)
	twice := deploymentThat(asks(disk))
	twice.Spec.Template.Spec.Containers[0].Name = "other"
	scaled := deploymentThat(asks(disk))
	scaled.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	var out strings.Builder
	for _, c := range []struct {
		name string
		by   authn.User
		req  *Request
	}{
		{"compose makes a pod", compose, create(podThat(asks(disk), nil), pods)},
		{"compose makes a deployment", compose, create(deploymentThat(asks(disk)), deployments)},
		{"compose changes a deployment", compose, update("", deploymentThat(asks(reaper)), deploymentThat(asks(disk)), deployments)},
		{"compose takes it out of a deployment", compose, update("", deploymentThat(asks(reaper)), deploymentThat(nil), deployments)},
		{"compose writes nonsense", compose, create(deploymentThat(asks(`{"version":"v1","wings":2}`)), deployments)},
		{"compose asks for what there is not", compose, create(deploymentThat(asks(`{"version":"v1","containers":{"db":{"ulimits":{"wings":{"soft":2,"hard":1}}}}}`)), deployments)},
		{"compose writes an old annotation", compose, create(podThat(map[string]string{"engine.cuppa.dev/user": "root"}, nil), pods)},
		{"anybody makes a pod that asks for nothing", ann, create(podThat(nil, nil), pods)},
		{"anybody makes a pod", ann, create(podThat(asks(disk), nil), pods)},
		{"anybody makes a pod with an old annotation", ann, create(podThat(map[string]string{"engine.cuppa.dev/devices": "[]"}, nil), pods)},
		{"anybody makes a pod with nothing said", ann, create(podThat(map[string]string{api.AnnotationExtras: ""}, nil), pods)},
		{"anybody makes a pod that looks like the replicaset's", ann, create(podThat(asks(disk), set), pods)},
		{"anybody makes a deployment", ann, create(deploymentThat(asks(reaper)), deployments)},
		{"anybody makes a replicaset that looks like the deployment's", ann, create(setThat(asks(disk), deployment), sets)},
		{"an administrator makes a pod", admin, create(podThat(asks(disk), nil), pods)},
		{"a node makes a mirror pod", node, create(mirror, pods)},
		{"the loop makes a pod as its replicaset says", loop, create(podThat(asks(disk), set), pods)},
		{"the loop makes a pod otherwise than its replicaset says", loop, create(podThat(asks(reaper), set), pods)},
		{"the loop makes a pod with less than its replicaset says", loop, create(podThat(nil, set), pods)},
		{"the loop makes a pod of nobody", loop, create(podThat(asks(disk), nil), pods)},
		{"the loop makes a pod of a replicaset that has gone", loop, create(podThat(asks(disk), owned("ReplicaSet", "web-abc", "older")), pods)},
		{"the loop makes a pod of a pod", loop, create(podThat(asks(disk), &metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "web-1", Controller: set.Controller}), pods)},
		{"the loop makes a replicaset as its deployment says", loop, create(setThat(asks(disk), deployment), sets)},
		{"the loop changes a replicaset", loop, update("", setThat(asks(reaper), deployment), setThat(asks(disk), deployment), sets)},
		{"anybody annotates a running pod", ann, update("", podThat(nil, nil), podThat(asks(disk), nil), pods)},
		{"anybody changes what a running pod asks for", ann, update("", podThat(asks(reaper), nil), podThat(asks(disk), nil), pods)},
		{"anybody takes it from a running pod", ann, update("", podThat(asks(reaper), nil), podThat(nil, nil), pods)},
		{"anybody changes a running pod otherwise", ann, update("", podThat(asks(disk), nil), podThat(asks(disk), set), pods)},
		{"anybody binds a pod with annotations", ann, &Request{Operation: Create, Subresource: "binding", Kind: pods, Namespace: "default", Name: "web-1",
			Body: &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Annotations: asks(disk)}}}},
		{"a loop binds a pod with annotations", loop, &Request{Operation: Create, Subresource: "binding", Kind: pods, Namespace: "default", Name: "web-1",
			Body: &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Annotations: asks(disk)}}}},
		{"the scheduler binds a pod", ann, &Request{Operation: Create, Subresource: "binding", Kind: pods, Namespace: "default", Name: "web-1", Body: &corev1.Binding{}}},
		{"anybody adds an ephemeral container and annotations", ann, update("ephemeralcontainers", podThat(nil, nil), podThat(asks(disk), nil), pods)},
		{"a node reports a status and annotations", node, update("status", podThat(nil, nil), podThat(asks(disk), nil), pods)},
		{"a node reports a status", node, update("status", podThat(asks(disk), nil), podThat(asks(disk), nil), pods)},
		{"anybody restarts a deployment", ann, update("", deploymentThat(asks(disk)), scaled, deployments)},
		{"anybody scales a deployment", ann, update("scale", deploymentThat(asks(disk)), deploymentThat(asks(disk)), deployments)},
		{"anybody goes back to an older version", ann, update("", deploymentThat(asks(disk)), deploymentThat(asks(reaper)), deployments)},
		{"anybody renames the container", ann, update("", deploymentThat(asks(disk)), twice, deployments)},
		{"anybody deletes a deployment", ann, &Request{Operation: Delete, Kind: deployments, Namespace: "default", Name: "web", Old: deploymentThat(asks(disk))}},
	} {
		c.req.User = c.by
		plugin := &engineExtras{reader: store}
		answer := "admitted"
		if err := plugin.validate(context.Background(), c.req); err != nil {
			answer = err.Error()
		}
		fmt.Fprintf(&out, "%s:\n\t%s\n", c.name, answer)
	}
	testkit.Golden(t, "extras.txt", out.String())
}

// TestTemplatesAreFound holds that templates are found wherever a kind has them, whether it has a Go type or not.
func TestTemplatesAreFound(t *testing.T) {
	job := batchv1.JobSpec{Template: templateThat(asks(disk))}
	for want, obj := range map[string]registry.Object{
		"spec.template":                  &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: templateThat(asks(disk))}},
		"spec.template ":                 &batchv1.Job{Spec: job},
		"spec.jobTemplate.spec.template": &batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: job}}},
		"template":                       &corev1.PodTemplate{Template: templateThat(asks(disk))},
		"spec.template  ":                &corev1.ReplicationController{Spec: corev1.ReplicationControllerSpec{Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: asks(disk)}}}},
		"":                               &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: asks(disk)}},
	} {
		for form, obj := range map[string]registry.Object{"typed": obj, "untyped": bare(t, obj)} {
			var found templates
			got := ""
			found.visit(obj, func(at string, template *corev1.PodTemplateSpec) {
				got += at
				if template.Annotations[api.AnnotationExtras] != disk {
					t.Errorf("%s %T: annotations %v", form, obj, template.Annotations)
				}
			})
			if got != strings.TrimSpace(want) {
				t.Errorf("%s %T: found %q, want %q", form, obj, got, want)
			}
		}
	}
	custom := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"workers": []any{map[string]any{"pod": map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{api.AnnotationExtras: disk}}, "spec": map[string]any{"containers": []any{map[string]any{"name": "web"}}}}}}}}}
	plugin := &engineExtras{}
	if got := plugin.carriers(custom); len(got) != 1 || got[0].at != "spec.workers[0].pod.metadata.annotations" || !reflect.DeepEqual(got[0].containers, []string{"web"}) {
		t.Errorf("a custom object: %+v", got)
	}
}

func bare(t *testing.T, obj registry.Object) registry.Object {
	t.Helper()
	raw, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &out.Object); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryKindIsWalked holds that looking for templates never panics, whatever a kind is made of.
func TestEveryKindIsWalked(t *testing.T) {
	var found templates
	for _, kind := range kinds.All().Kinds() {
		found.visit(kind.New(), func(string, *corev1.PodTemplateSpec) {})
	}
}
