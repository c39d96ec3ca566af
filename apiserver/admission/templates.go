package admission

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// templates finds the pod templates in an object of any kind: by Go type where there is one, else by looks. No kind has to be named for it, so a
// new one cannot be forgotten. The zero value is ready.
type templates struct {
	holds sync.Map // reflect.Type -> bool: there may be a template in it
}

var templateType = reflect.TypeFor[corev1.PodTemplateSpec]()

// visit calls fn with every template and its path.
func (t *templates) visit(obj registry.Object, fn func(at string, t *corev1.PodTemplateSpec)) {
	if content, ok := obj.(runtime.Unstructured); ok {
		untyped("", content.UnstructuredContent(), fn)
		return
	}
	t.typed(reflect.ValueOf(obj), "", fn)
}

func (t *templates) typed(v reflect.Value, at string, fn func(string, *corev1.PodTemplateSpec)) {
	if !t.in(v.Type(), nil) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			t.typed(v.Elem(), at, fn)
		}
	case reflect.Slice:
		for i := range v.Len() {
			t.typed(v.Index(i), fmt.Sprintf("%s[%d]", at, i), fn)
		}
	case reflect.Struct:
		if v.Type() == templateType && v.CanAddr() {
			fn(at, v.Addr().Interface().(*corev1.PodTemplateSpec))
			return
		}
		for i := range v.NumField() {
			t.typed(v.Field(i), join(at, jsonName(v.Type().Field(i))), fn)
		}
	}
}

// in is true if a value of the type can have a template in it. Above holds the types being looked at: one that refers to itself adds nothing.
func (t *templates) in(typ reflect.Type, above []reflect.Type) bool {
	if known, ok := t.holds.Load(typ); ok {
		return known.(bool)
	}
	found := typ == templateType
	if slices.Contains(above, typ) {
		return false
	}
	above = append(above, typ)
	switch {
	case found:
	case typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice:
		found = t.in(typ.Elem(), above)
	case typ.Kind() == reflect.Struct:
		for i := range typ.NumField() {
			found = found || t.in(typ.Field(i).Type, above)
		}
	}
	if found || len(above) == 1 {
		t.holds.Store(typ, found)
	}
	return found
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(at, name string) string {
	if at == "" || name == "" {
		return at + name
	}
	return at + "." + name
}

// untyped takes for a template whatever has annotations below metadata and containers below spec, and is not the object itself.
func untyped(at string, value any, fn func(string, *corev1.PodTemplateSpec)) {
	switch value := value.(type) {
	case []any:
		for i := range value {
			untyped(fmt.Sprintf("%s[%d]", at, i), value[i], fn)
		}
	case map[string]any:
		if metadata, ok := value["metadata"].(map[string]any); ok && at != "" {
			if t := template(metadata, value["spec"]); t != nil {
				fn(at, t)
			}
		}
		for key, inner := range value {
			untyped(join(at, key), inner, fn)
		}
	}
}

func template(metadata map[string]any, spec any) *corev1.PodTemplateSpec {
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return nil
	}
	t := &corev1.PodTemplateSpec{}
	t.Annotations = map[string]string{}
	for key, value := range annotations {
		if text, ok := value.(string); ok {
			t.Annotations[key] = text
		}
	}
	fields, _ := spec.(map[string]any)
	t.Spec.InitContainers, t.Spec.Containers = named(fields["initContainers"]), named(fields["containers"])
	return t
}

func named(list any) []corev1.Container {
	var out []corev1.Container
	items, _ := list.([]any)
	for _, item := range items {
		fields, _ := item.(map[string]any)
		name, _ := fields["name"].(string)
		out = append(out, corev1.Container{Name: name})
	}
	return out
}
