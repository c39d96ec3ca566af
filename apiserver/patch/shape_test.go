package patch

import (
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// library is what the library records for a creation.
func library(t testing.TB, f *Fields, kind *registry.Kind, obj registry.Object) string {
	t.Helper()
	made, err := f.update(kind, "", kind.New(), obj.DeepCopyObject().(registry.Object), "test")
	if err != nil {
		t.Fatal(err)
	}
	return record(made)
}

// record is managedFields without the time.
func record(obj registry.Object) string {
	out := ""
	for _, e := range obj.GetManagedFields() {
		out += fmt.Sprintf("%s %s %s %s\n", e.Manager, e.Operation, e.APIVersion, e.FieldsV1.GetRawString())
	}
	return out
}

func shapeOf(f *Fields, kind *registry.Kind, obj registry.Object) (string, bool) {
	types, err := f.converter()
	if err != nil {
		return "", false
	}
	p := f.shapes.plan(kind, types)
	if p == nil {
		return "", false
	}
	key, ok := p.append(nil, reflect.ValueOf(obj).Elem())
	return string(key), ok
}

// filler makes random objects. What is in a blob of somebody else's JSON does not belong to the shape.
func filler(r *rand.Rand) *randfill.Filler {
	return randfill.New().RandSource(r).NilChance(0.4).NumElements(0, 3).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(5), resource.DecimalSI)
		},
		func(s *intstr.IntOrString, c randfill.Continue) { *s = intstr.FromInt32(c.Int31n(3)) },
		func(tm *metav1.Time, c randfill.Continue) {
			if c.Bool() {
				*tm = metav1.Unix(c.Int63n(1e9), 0)
			}
		},
		func(tm *metav1.MicroTime, c randfill.Continue) {
			if c.Bool() {
				*tm = metav1.NewMicroTime(metav1.Unix(c.Int63n(1e9), 0).Time)
			}
		},
		func(*metav1.ManagedFieldsEntry, randfill.Continue) {},
		func(*runtime.RawExtension, randfill.Continue) {},
		func(s *string, c randfill.Continue) { *s = []string{"", "a", "b", "c"}[c.Intn(4)] },
	)
}

// perturb changes about one value in rate, and with that now and then the shape.
func perturb(r *rand.Rand, v reflect.Value, rate int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			if r.Intn(8*rate) == 0 {
				v.SetZero()
				return
			}
			perturb(r, v.Elem(), rate)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[resource.Quantity]() || v.Type() == reflect.TypeFor[intstr.IntOrString]() || v.Type() == reflect.TypeFor[metav1.Time]() || v.Type() == reflect.TypeFor[metav1.MicroTime]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				perturb(r, v.Field(i), rate)
			}
		}
	case reflect.Slice:
		if v.Len() > 0 && r.Intn(8*rate) == 0 {
			v.Set(v.Slice(0, r.Intn(v.Len())))
		}
		for i := range v.Len() {
			perturb(r, v.Index(i), rate)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if v.Type().Elem().Kind() == reflect.String && r.Intn(rate) == 0 {
				v.SetMapIndex(key, reflect.ValueOf([]string{"", "x", "y"}[r.Intn(3)]).Convert(v.Type().Elem()))
			}
		}
	case reflect.String:
		if r.Intn(rate) == 0 {
			v.SetString([]string{"", "a", "b", "c"}[r.Intn(4)])
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if r.Intn(rate) == 0 {
			v.SetInt(int64(r.Intn(3)))
		}
	case reflect.Bool:
		if r.Intn(rate) == 0 {
			v.SetBool(r.Intn(2) == 0)
		}
	}
}

func compareShapes(t testing.TB, f *Fields, kind *registry.Kind, seed int64) (same bool) {
	r := rand.New(rand.NewSource(seed))
	a := kind.New()
	filler(r).Fill(a)
	a.SetManagedFields(nil)
	a.GetObjectKind().SetGroupVersionKind(kind.GVK)
	b := a.DeepCopyObject().(registry.Object)
	perturb(r, reflect.ValueOf(b).Elem(), []int{3, 30, 200}[uint64(seed)%3])
	b.SetManagedFields(nil)
	b.GetObjectKind().SetGroupVersionKind(kind.GVK)
	shapeA, okA := shapeOf(f, kind, a)
	shapeB, okB := shapeOf(f, kind, b)
	if !okA || !okB || shapeA != shapeB {
		return false
	}
	if diff := cmp.Diff(library(t, f, kind, a), library(t, f, kind, b)); diff != "" {
		t.Fatalf("%s, seed %d: equal shapes, different records:\n%s\nthe objects differ in:\n%s", kind.GVK, seed, diff, cmp.Diff(a, b))
	}
	return true
}

// compareChanges makes two pairs of an old and a new object. When the memo takes them for the same change, the library must too.
func compareChanges(t testing.TB, f *Fields, kind *registry.Kind, seed int64) (same bool) {
	r := rand.New(rand.NewSource(seed))
	rate := []int{10, 40, 200}[uint64(seed)%3]
	managers := []string{"creator", "other"}
	manager := managers[uint64(seed)/2%2]
	sub := ""
	if kind.Subresource("status") != nil && seed%2 == 0 {
		sub = "status"
	}
	first := kind.New()
	filler(r).Fill(first)
	first.SetUID("u")
	first.SetManagedFields(nil)
	next := func(obj registry.Object) registry.Object {
		out := obj.DeepCopyObject().(registry.Object)
		perturb(r, reflect.ValueOf(out).Elem(), rate)
		out.SetUID("u")
		out.SetManagedFields(nil)
		out.GetObjectKind().SetGroupVersionKind(kind.GVK)
		return out
	}
	pair := func(from registry.Object) (live, obj registry.Object, key string, ok bool) {
		live = next(from)
		obj = next(live)
		live, err := f.update(kind, "", kind.New(), live, "creator")
		if err != nil {
			t.Fatal(err)
		}
		bytes, ok := f.change(nil, kind, sub, live, obj, manager)
		return live, obj, string(bytes), ok
	}
	liveA, objA, keyA, okA := pair(first)
	liveB, objB, keyB, okB := pair(first)
	if !okA || !okB || keyA != keyB {
		return false
	}
	a, errA := f.update(kind, sub, liveA, objA.DeepCopyObject().(registry.Object), manager)
	b, errB := f.update(kind, sub, liveB, objB.DeepCopyObject().(registry.Object), manager)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if diff := cmp.Diff(record(a), record(b)); diff != "" {
		t.Fatalf("%s, seed %d: one change, two records:\n%s\nA changed:\n%s\nB changed:\n%s", kind.GVK, seed, diff, cmp.Diff(liveA, objA), cmp.Diff(liveB, objB))
	}
	// And what the memo makes is what the library makes.
	for range 2 {
		ours, err := f.Update(kind, sub, liveA, objA.DeepCopyObject().(registry.Object), manager)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(record(a), record(ours)); diff != "" {
			t.Fatalf("%s, seed %d (-library +ours):\n%s", kind.GVK, seed, diff)
		}
	}
	return true
}

// TestChanges holds the memo of updates against the library.
func TestChanges(t *testing.T) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	for _, kind := range table.Kinds() {
		t.Run(kind.GVK.String(), func(t *testing.T) {
			same := 0
			for seed := range int64(150) {
				if compareChanges(t, f, kind, seed) {
					same++
				}
			}
			t.Logf("%d of 150 pairs were one change", same)
		})
	}
}

func FuzzChanges(f *testing.F) {
	table := kinds.All()
	fields := NewFields(registry.New(table), openapi.TypeConverter)
	for i := range table.Kinds() {
		f.Add(i, int64(i))
	}
	f.Fuzz(func(t *testing.T, i int, seed int64) {
		rows := table.Kinds()
		compareChanges(t, fields, rows[uint(i)%uint(len(rows))], seed)
	})
}

// TestChangeKeepsTimes: an entry that a write did not touch keeps its time, and one that it did gets a new one.
func TestChangeKeepsTimes(t *testing.T) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	kind := table.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	for _, name := range []string{"first", "second"} { // learnt, then remembered
		live := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Labels: map[string]string{"a": name}}}
		made, err := f.update(kind, "", kind.New(), live, "creator")
		if err != nil {
			t.Fatal(err)
		}
		old := metav1.Unix(1000, 0)
		fields := made.GetManagedFields()
		fields[0].Time = &old
		made.SetManagedFields(fields)
		obj := made.DeepCopyObject().(*corev1.Pod)
		obj.Status.Phase = corev1.PodRunning
		updated, err := f.Update(kind, "status", made, obj, "node")
		if err != nil {
			t.Fatal(err)
		}
		after := updated.GetManagedFields()
		if len(after) != 2 || after[0].Manager != "creator" || !after[0].Time.Equal(&old) || after[1].Manager != "node" || after[1].Time.Unix() < 1e9 {
			t.Errorf("%s: %+v", name, after)
		}
	}
	if n := len(f.shapes.changes); n != 1 {
		t.Errorf("%d changes remembered, want 1", n)
	}
}

// TestShapes holds the shapes against the library: objects of equal shape must have equal records.
func TestShapes(t *testing.T) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	for _, kind := range table.Kinds() {
		t.Run(kind.GVK.String(), func(t *testing.T) {
			same := 0
			for seed := range int64(150) {
				if compareShapes(t, f, kind, seed) {
					same++
				}
			}
			t.Logf("%d of 150 pairs had equal shapes", same)
		})
	}
}

func FuzzShapes(f *testing.F) {
	table := kinds.All()
	fields := NewFields(registry.New(table), openapi.TypeConverter)
	for i := range table.Kinds() {
		f.Add(i, int64(i))
	}
	f.Fuzz(func(t *testing.T, i int, seed int64) {
		rows := table.Kinds()
		compareShapes(t, fields, rows[uint(i)%uint(len(rows))], seed)
	})
}

// TestShapeHits: pods of one template are one shape, and get the record that the library would make.
func TestShapeHits(t *testing.T) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	kind := table.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod := func(name, image string) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}, Finalizers: []string{"a/b"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}},
		}
		kind.Default(p)
		return p
	}
	for i, p := range []*corev1.Pod{pod("a", "one"), pod("b", "two")} {
		want := library(t, f, kind, p)
		made, err := f.Create(kind, p, "test")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, record(made)); diff != "" {
			t.Errorf("pod %d (-library +ours):\n%s", i, diff)
		}
	}
	if n := len(f.shapes.records); n != 1 {
		t.Errorf("%d shapes, want 1", n)
	}
}

func BenchmarkShape(b *testing.B) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	kind := table.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	kind.Default(pod)
	b.ReportAllocs()
	for range b.N {
		pod.SetManagedFields(nil)
		if _, err := f.Create(kind, pod, "test"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChange(b *testing.B) {
	table := kinds.All()
	f := NewFields(registry.New(table), openapi.TypeConverter)
	kind := table.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "u", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	kind.Default(pod)
	live, err := f.Create(kind, pod, "creator")
	if err != nil {
		b.Fatal(err)
	}
	obj := live.DeepCopyObject().(*corev1.Pod)
	obj.Spec.NodeName = "n"
	b.ReportAllocs()
	for range b.N {
		obj.SetManagedFields(live.GetManagedFields())
		if _, err := f.Update(kind, "binding", live, obj, "scheduler"); err != nil {
			b.Fatal(err)
		}
	}
}
