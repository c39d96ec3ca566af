package environ_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/environ"
)

type source struct{ services []*corev1.Service }

func (source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if name != "conf" {
		return nil, errkind.New(errkind.NotFound, "configmap %q not found", name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"KEY": "from-conf", "OTHER": "o"}}, nil
}

func (source) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if name != "pass" {
		return nil, errkind.New(errkind.NotFound, "secret %q not found", name)
	}
	return &corev1.Secret{Data: map[string][]byte{"word": []byte("s3cret")}}, nil
}

func (s source) ServiceList(namespace string) []*corev1.Service {
	var out []*corev1.Service
	for _, service := range s.services {
		if service.Namespace == namespace {
			out = append(out, service)
		}
	}
	return out
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "B": "$(A)"}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(NO)": "$(NO)", "$(A": "$(A", "$A": "$A",
		"$": "$", "$(B)": "$(A)", "100%$": "100%$", "$()": "$()",
	} {
		if got := environ.Expand(text, lookup); got != want {
			t.Errorf("Expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(B)$$")
	f.Fuzz(func(t *testing.T, text string) {
		none := func(string) (string, bool) { return "", false }
		if got := environ.Expand(text, none); len(got) > len(text) {
			t.Errorf("Expand(%q) grew to %q without any variable", text, got)
		}
	})
}

func TestBuild(t *testing.T) {
	yes, no := true, false
	service := func(namespace, name, ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}}}}
	}
	in := environ.Input{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": "x"}},
			Spec:       corev1.PodSpec{EnableServiceLinks: &yes, ServiceAccountName: "sa"},
		},
		Container: &corev1.Container{
			EnvFrom: []corev1.EnvFromSource{{Prefix: "C_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
			Env: []corev1.EnvVar{
				{Name: "FIRST", Value: "1"},
				{Name: "SECOND", Value: "$(FIRST)-$(C_KEY)-$(LATER)"},
				{Name: "LATER", Value: "l"},
				{Name: "HOST", Value: "$(RNG_SERVICE_HOST)"},
				{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
				{Name: "APP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
				{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
				{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.memory", Divisor: resource.MustParse("1Mi")}}},
				{Name: "WORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "pass"}, Key: "word"}}},
				{Name: "GONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Key: "word", Optional: &yes}}},
			},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse("1500Ki")}},
		},
		Facts:  environ.Facts{PodIPs: []string{"10.1.0.2"}, Allocatable: corev1.ResourceList{"cpu": resource.MustParse("3500m")}},
		Source: source{[]*corev1.Service{service("ns", "rng", "10.0.0.7"), service("ns", "headless", "None"), service("other", "far", "10.0.0.8"), service("default", "kubernetes", "10.0.0.1")}},
	}
	got, err := environ.Build(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := []environ.Var{
		{"FIRST", "1"}, {"SECOND", "1-from-conf-$(LATER)"}, {"LATER", "l"}, {"HOST", "10.0.0.7"}, {"POD", "p"}, {"IP", "10.1.0.2"}, {"APP", "x"},
		{"CPU", "4"}, {"MEM", "2"}, {"WORD", "s3cret"},
		{"C_KEY", "from-conf"}, {"C_OTHER", "o"},
		{"KUBERNETES_PORT", "tcp://10.0.0.1:80"}, {"KUBERNETES_PORT_80_TCP", "tcp://10.0.0.1:80"}, {"KUBERNETES_PORT_80_TCP_ADDR", "10.0.0.1"},
		{"KUBERNETES_PORT_80_TCP_PORT", "80"}, {"KUBERNETES_PORT_80_TCP_PROTO", "tcp"}, {"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
		{"KUBERNETES_SERVICE_PORT", "80"}, {"KUBERNETES_SERVICE_PORT_WEB", "80"},
		{"RNG_PORT", "tcp://10.0.0.7:80"}, {"RNG_PORT_80_TCP", "tcp://10.0.0.7:80"}, {"RNG_PORT_80_TCP_ADDR", "10.0.0.7"},
		{"RNG_PORT_80_TCP_PORT", "80"}, {"RNG_PORT_80_TCP_PROTO", "tcp"}, {"RNG_SERVICE_HOST", "10.0.0.7"},
		{"RNG_SERVICE_PORT", "80"}, {"RNG_SERVICE_PORT_WEB", "80"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Pod.Spec.EnableServiceLinks = &no
	in.Container = &corev1.Container{}
	if got, err = environ.Build(t.Context(), in); err != nil || len(got) != 8 {
		t.Errorf("without links only the API server's own variables remain: %v, %v", got, err)
	}
}

func TestBuildFailures(t *testing.T) {
	for want, env := range map[string]corev1.EnvVarSource{
		`configmap "no" not found`:                 {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Key: "k"}},
		`couldn't find key k in ConfigMap ns/conf`: {ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Key: "k"}},
		`unsupported fieldPath "spec.colour"`:      {FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.colour"}},
	} {
		_, err := environ.Build(t.Context(), environ.Input{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}, Source: source{},
			Container: &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &env}}}})
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
