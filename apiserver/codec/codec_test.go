package codec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

func somePod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"x": "y"}}, Spec: corev1.PodSpec{NodeName: "n"}}
}

// TestStored: what we store is what upstream's own decoder reads, and the other way round.
func TestStored(t *testing.T) {
	value, err := EncodeStored(somePod(), podKind)
	if err != nil {
		t.Fatal(err)
	}
	upstream := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	obj, gvk, err := upstream.Decode(value, nil, nil)
	if err != nil || *gvk != podKind {
		t.Fatalf("upstream reads ours: %v, %v", err, gvk)
	}
	if diff := cmp.Diff(somePod().Spec, obj.(*corev1.Pod).Spec); diff != "" {
		t.Error(diff)
	}
	theirs, err := runtime.Encode(upstream, withKind(somePod()))
	if err != nil {
		t.Fatal(err)
	}
	var back corev1.Pod
	if gvk, err := DecodeStored(theirs, &back); err != nil || gvk != podKind || back.Name != "a" {
		t.Errorf("we read upstream's: %v, %v, %+v", err, gvk, back)
	}
	body, ok := Body(theirs)
	if _, want, err := Unwrap(theirs); !ok || err != nil || !cmp.Equal(body, want) {
		t.Errorf("Body and Unwrap disagree: %v, %v", ok, err)
	}
}

func withKind(pod *corev1.Pod) *corev1.Pod {
	pod.SetGroupVersionKind(podKind)
	return pod
}

// TestRevised: a resource version that is added to the bytes is read with everything else.
func TestRevised(t *testing.T) {
	body, err := MarshalProto(somePod())
	if err != nil {
		t.Fatal(err)
	}
	var back corev1.Pod
	if err := back.Unmarshal(AppendRevised(nil, body, "12345")); err != nil {
		t.Fatal(err)
	}
	want := somePod()
	want.ResourceVersion = "12345"
	if diff := cmp.Diff(want, &back); diff != "" {
		t.Error(diff)
	}
}

func TestNegotiate(t *testing.T) {
	anything := func(m Media) bool { return m.As != AsTable || m.Format != Protobuf }
	for accept, want := range map[string]string{
		"":                 "application/json",
		"*/*":              "application/json",
		"application/json": "application/json",
		"application/yaml": "application/yaml",
		"application/vnd.kubernetes.protobuf,application/json": "application/vnd.kubernetes.protobuf",
		"application/json;q=0.5, application/yaml":             "application/yaml",
		"text/html":            "none",
		"text/html, */*;q=0.1": "application/json",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json": "application/json Table v1",
		"application/json;as=Table;v=v2;g=meta.k8s.io,application/json":                                                   "application/json",
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io":                                                 "none",
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1":                             "application/vnd.kubernetes.protobuf PartialObjectMetadataList v1",
		"application/json;stream=watch":                                        "application/json",
		"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList": "none",
		"application/json;q=0":                                                 "none",
		"garbage;;;=":                                                          "none",
	} {
		got := "none"
		if m, ok := Negotiate(accept, anything); ok {
			got = m.Format.MediaType()
			if m.As != AsObject {
				got += " " + m.Kind().Kind + " " + m.Version
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	value, err := EncodeStored(somePod(), podKind)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value, 2)
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`), 0)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod"`), 0)
	f.Add([]byte("kind: Pod\nkind: Pod\n"), 1)
	f.Fuzz(func(t *testing.T, body []byte, format int) {
		var pod corev1.Pod
		decoded, err := Decode(body, Format(uint(format)%3), podKind, true, &pod)
		if err == nil && decoded.GVK.Kind != "Pod" {
			t.Errorf("decoded a %s as a Pod", decoded.GVK.Kind)
		}
		Body(body)
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,*/*;q=0.5")
	f.Fuzz(func(t *testing.T, accept string) {
		if m, ok := Negotiate(accept, func(m Media) bool { return m.Format == JSON }); ok && m.Format != JSON {
			t.Errorf("%q: a format that was not allowed", accept)
		}
	})
}
