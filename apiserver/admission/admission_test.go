package admission

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// world is what plugins read, by "resource/namespace/name".
type world map[string]registry.Object

func (w world) Get(resource schema.GroupVersionResource, namespace, name string) registry.Object {
	return w[resource.Resource+"/"+namespace+"/"+name]
}

func (w world) Live(_ context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error) {
	if found := w.Get(resource, namespace, name); found != nil {
		return found, nil
	}
	return nil, apierrors.NewNotFound(resource.GroupResource(), name)
}

func (w world) List(resource schema.GroupVersionResource, namespace string) []registry.Object {
	var out []registry.Object
	for _, key := range slices.Sorted(maps.Keys(w)) {
		if strings.HasPrefix(key, resource.Resource+"/"+namespace) {
			out = append(out, w[key])
		}
	}
	return out
}

func objects() world {
	no := false
	return world{
		"namespaces//default":             &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		"namespaces//going":               &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}},
		"serviceaccounts/default/default": &corev1.ServiceAccount{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
		"serviceaccounts/default/quiet":   &corev1.ServiceAccount{AutomountServiceAccountToken: &no},
		"pods/default/mine": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "default",
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}, {ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}}}}}}}}},
		"pods/default/other": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "2"}, Spec: corev1.PodSpec{NodeName: "n2", ServiceAccountName: "default"}},
	}
}

func admit(t *testing.T, req *Request) error {
	t.Helper()
	req.Warn = func(string) {}
	chain := Default(Config{Reader: objects(), Authorizer: authz.Rules{}})
	if err := chain.Mutate(context.Background(), req); err != nil {
		return err
	}
	return chain.Validate(context.Background(), req)
}

func kindOf(resource string) *registry.Kind {
	return kinds.All().ByResource(corev1.SchemeGroupVersion.WithResource(resource))
}

func newPod(spec corev1.PodSpec) *Request {
	if spec.Containers == nil {
		spec.Containers = []corev1.Container{{Name: "c"}}
	}
	return &Request{Operation: Create, Kind: kindOf("pods"), Namespace: "default", Name: "p",
		Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: spec}}
}

func TestPodGetsWhatItNeeds(t *testing.T) {
	req := newPod(corev1.PodSpec{})
	if err := admit(t, req); err != nil {
		t.Fatal(err)
	}
	spec := req.Object.(*corev1.Pod).Spec
	if spec.ServiceAccountName != "default" || spec.DeprecatedServiceAccount != "default" || len(spec.ImagePullSecrets) != 1 {
		t.Errorf("account: %+v", spec)
	}
	if len(spec.Volumes) != 1 || len(spec.Volumes[0].Projected.Sources) != 3 || spec.Containers[0].VolumeMounts[0].MountPath != tokenPath {
		t.Errorf("token: %+v", spec.Volumes)
	}
	if spec.Priority == nil || *spec.Priority != 0 || *spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("priority: %v", spec.Priority)
	}
	if len(spec.Tolerations) != 2 || *spec.Tolerations[0].TolerationSeconds != 300 {
		t.Errorf("tolerations: %+v", spec.Tolerations)
	}
}

func TestPodSaysOtherwise(t *testing.T) {
	no := false
	for name, spec := range map[string]corev1.PodSpec{
		"no token for the pod":     {AutomountServiceAccountToken: &no},
		"no token for the account": {ServiceAccountName: "quiet"},
		"something is mounted":     {Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "x", MountPath: tokenPath}}}}},
	} {
		req := newPod(spec)
		if err := admit(t, req); err != nil {
			t.Fatal(err)
		}
		if volumes := req.Object.(*corev1.Pod).Spec.Volumes; len(volumes) != 0 {
			t.Errorf("%s: %+v", name, volumes)
		}
	}
	req := newPod(corev1.PodSpec{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, PriorityClassName: "system-node-critical"})
	if err := admit(t, req); err != nil {
		t.Fatal(err)
	}
	if spec := req.Object.(*corev1.Pod).Spec; len(spec.Tolerations) != 1 || *spec.Priority != 2000001000 {
		t.Errorf("%+v, priority %v", spec.Tolerations, *spec.Priority)
	}
}

func TestRefusals(t *testing.T) {
	high := int32(7)
	in := func(namespace string) *Request {
		return &Request{Operation: Create, Kind: kindOf("configmaps"), Namespace: namespace, Name: "c", Object: &corev1.ConfigMap{}}
	}
	for name, c := range map[string]struct {
		req  *Request
		want string // empty: admitted
	}{
		"into a namespace":       {in("default"), ""},
		"into no namespace":      {in("none"), `namespaces "none" not found`},
		"into one that is going": {in("going"), "because it is being terminated"},
		"delete default":         {&Request{Operation: Delete, Kind: kindOf("namespaces"), Name: "default"}, "may not be deleted"},
		"delete another":         {&Request{Operation: Delete, Kind: kindOf("namespaces"), Name: "going"}, ""},
		"no such account":        {newPod(corev1.PodSpec{ServiceAccountName: "none"}), "error looking up service account default/none"},
		"no such priority":       {newPod(corev1.PodSpec{PriorityClassName: "none"}), "no PriorityClass with name none was found"},
		"a priority of its own":  {newPod(corev1.PodSpec{Priority: &high}), "must not be provided in pod spec"},
	} {
		err := admit(t, c.req)
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestPriorityClasses: the class of a pod gives its number and policy, the default class serves pods without one, and there is one default.
func TestPriorityClasses(t *testing.T) {
	never := corev1.PreemptNever
	w := objects()
	w["priorityclasses//high"] = &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000, PreemptionPolicy: &never}
	w["priorityclasses//usual"] = &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 10, GlobalDefault: true}
	pipeline := Default(Config{Reader: w})
	for name, c := range map[string]struct {
		class  string
		value  int32
		policy corev1.PreemptionPolicy
		named  string
	}{
		"a class":      {"high", 1000, corev1.PreemptNever, "high"},
		"no class":     {"", 10, corev1.PreemptLowerPriority, "usual"},
		"the system's": {"system-cluster-critical", 2000000000, corev1.PreemptLowerPriority, "system-cluster-critical"},
	} {
		req := newPod(corev1.PodSpec{PriorityClassName: c.class})
		if err := pipeline.Mutate(context.Background(), req); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		spec := req.Object.(*corev1.Pod).Spec
		if *spec.Priority != c.value || *spec.PreemptionPolicy != c.policy || spec.PriorityClassName != c.named {
			t.Errorf("%s: %d, %s, %q; want %d, %s, %q", name, *spec.Priority, *spec.PreemptionPolicy, spec.PriorityClassName, c.value, c.policy, c.named)
		}
	}
	kind := kinds.All().ByResource(priorityClassResource)
	for name, c := range map[string]struct {
		req  *Request
		want string
	}{
		"a second default":    {&Request{Operation: Create, Kind: kind, Name: "x", Object: &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "x"}, GlobalDefault: true}}, "PriorityClass usual is already marked as default"},
		"the default itself":  {&Request{Operation: Update, Kind: kind, Name: "usual", Object: w["priorityclasses//usual"]}, ""},
		"remove the system's": {&Request{Operation: Delete, Kind: kind, Name: "system-node-critical"}, "cannot be deleted"},
		"remove one's own":    {&Request{Operation: Delete, Kind: kind, Name: "high"}, ""},
		"a policy of its own": {newPod(corev1.PodSpec{PriorityClassName: "usual", PreemptionPolicy: &never}), "PreemptionPolicy (Never) must not be provided"},
	} {
		c.req.Warn = func(string) {}
		err := pipeline.Mutate(context.Background(), c.req)
		if err == nil {
			err = pipeline.Validate(context.Background(), c.req)
		}
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestRuntimeClasses: a pod gets its class's overhead and place, and may not contradict either.
func TestRuntimeClasses(t *testing.T) {
	name, none := "sandboxed", "none"
	overhead := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	toleration := corev1.Toleration{Key: "sandboxed", Operator: corev1.TolerationOpExists}
	w := objects()
	w["runtimeclasses//sandboxed"] = &nodev1.RuntimeClass{
		Handler: "x", Overhead: &nodev1.Overhead{PodFixed: overhead},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}, Tolerations: []corev1.Toleration{toleration}},
	}
	pipeline := Default(Config{Reader: w})
	req := newPod(corev1.PodSpec{RuntimeClassName: &name, NodeSelector: map[string]string{"disk": "ssd"}, Tolerations: []corev1.Toleration{toleration}})
	if err := pipeline.Mutate(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	spec := req.Object.(*corev1.Pod).Spec
	if len(spec.NodeSelector) != 2 || spec.NodeSelector["vm"] != "yes" || spec.Overhead.Memory().String() != "64Mi" || len(spec.Tolerations) != 3 {
		t.Errorf("%v, %v, %v", spec.NodeSelector, spec.Overhead, spec.Tolerations)
	}
	for what, c := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"no such class":            {corev1.PodSpec{RuntimeClassName: &none}, `pod rejected: RuntimeClass "none" not found`},
		"another overhead":         {corev1.PodSpec{RuntimeClassName: &name, Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}, "doesn't match"},
		"overhead without a class": {corev1.PodSpec{Overhead: overhead}, "without corresponding RuntimeClass"},
		"another place":            {corev1.PodSpec{RuntimeClassName: &name, NodeSelector: map[string]string{"vm": "no"}}, "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"},
	} {
		req := newPod(c.spec)
		err := pipeline.Mutate(context.Background(), req)
		if err == nil {
			err = pipeline.Validate(context.Background(), req)
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// TestTolerationsComeBack: an update that names other tolerations keeps those that every pod has.
func TestTolerationsComeBack(t *testing.T) {
	req := newPod(corev1.PodSpec{Tolerations: []corev1.Toleration{{Key: "mine", Operator: corev1.TolerationOpExists}}})
	req.Operation = Update
	if err := defaultTolerations(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := req.Object.(*corev1.Pod).Spec.Tolerations; len(got) != 3 || got[0].Key != "mine" {
		t.Errorf("tolerations: %+v", got)
	}
}
