package codec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/codec"
)

func secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", UID: "u", Labels: map[string]string{"k": "v"}, Generation: 3,
			Finalizers:      []string{"f"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "o"}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}}},
		Data: map[string][]byte{"x": []byte("y")}, Immutable: new(true),
	}
}

func TestDecodeStoredMeta(t *testing.T) {
	gvk := corev1.SchemeGroupVersion.WithKind("Secret")
	want := secret().ObjectMeta
	want.ManagedFields = nil
	stored, err := codec.EncodeStored(secret(), gvk)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := codec.Encode(secret(), codec.JSON)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"protobuf": stored, "json": asJSON} {
		got, err := codec.DecodeStoredMeta(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got.ObjectMeta); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// FuzzDecodeStoredMeta holds that broken bytes are an error, never a panic, and that what decodes whole has the same metadata.
func FuzzDecodeStoredMeta(f *testing.F) {
	stored, err := codec.EncodeStored(secret(), schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add(stored[:len(stored)-5])
	f.Add([]byte(`{"metadata":{"name":"x"}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		whole := &corev1.Secret{}
		_, wholeErr := codec.DecodeStored(value, whole)
		got, err := codec.DecodeStoredMeta(value)
		if err != nil && wholeErr == nil {
			t.Fatalf("decodes whole, but not its metadata: %v", err)
		}
		if err == nil && wholeErr == nil && (got.Name != whole.Name || got.UID != whole.UID) {
			t.Errorf("metadata %v of an object with %v", got.ObjectMeta, whole.ObjectMeta)
		}
	})
}
