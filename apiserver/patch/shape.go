package patch

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// The record of a creation depends on the object's shape alone: which fields are set, which keys maps have, which elements
// lists have that are merged by key. The pods of one template all have one shape. So the shape is written down as bytes, and the
// record that the library made for the first object of a shape serves all others. Where it is not known whether something
// matters, it is part of the shape: that costs a hit, never a wrong record.

// shapeLimit bounds the shapes remembered for all kinds together.
const shapeLimit = 2048

// shapes remembers the records of creations.
type shapes struct {
	mu      sync.RWMutex
	plans   map[*registry.Kind]*plan // nil: the kind has parts that cannot be judged
	records map[string]*metav1.FieldsV1
	changes map[string]outcome
	keys    sync.Pool // of *[]byte
}

func newShapes() *shapes {
	return &shapes{
		plans: map[*registry.Kind]*plan{}, records: map[string]*metav1.FieldsV1{}, changes: map[string]outcome{},
		keys: sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }},
	}
}

// plan returns how to read the shape of a kind, or nil.
func (s *shapes) plan(kind *registry.Kind, types managedfields.TypeConverter) *plan {
	s.mu.RLock()
	p, known := s.plans[kind]
	s.mu.RUnlock()
	if known {
		return p
	}
	empty := kind.New()
	empty.GetObjectKind().SetGroupVersionKind(kind.GVK)
	if value, err := types.ObjectToTyped(empty, typed.AllowDuplicates); err == nil {
		c := compiler{schema: value.Schema(), seen: map[seenKey]*plan{}}
		p = c.compile(reflect.TypeOf(empty).Elem(), value.TypeRef()).withoutNames()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans[kind] = p
	return p
}

// unrecorded are the fields of an object's metadata that nobody is recorded to own.
func unrecorded() []string {
	return []string{"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"}
}

// withoutNames leaves out what does not belong to the record of a whole object.
func (p *plan) withoutNames() *plan {
	root := *p
	root.fields = nil
	for _, field := range p.fields {
		switch field.name {
		case "kind", "apiVersion":
			continue
		case "metadata":
			meta := *field.plan
			meta.fields = slices.DeleteFunc(slices.Clone(meta.fields), func(f fieldPlan) bool { return slices.Contains(unrecorded(), f.name) })
			field.plan = &meta
		}
		root.fields = append(root.fields, field)
	}
	return &root
}

func (s *shapes) find(key []byte) (*metav1.FieldsV1, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	record, ok := s.records[string(key)]
	return record, ok
}

func (s *shapes) remember(key []byte, record *metav1.FieldsV1) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) >= shapeLimit {
		clear(s.records) // shapes in use come back with the next object of theirs
	}
	s.records[string(key)] = record
}

// plan reads one type's part of a shape.
type plan struct {
	form   form
	fields []fieldPlan // of structs
	elem   *plan       // of pointers, lists and maps
	keys   []*keyPlan  // of lists that are merged by key
	byName map[string]int
}

type fieldPlan struct {
	index []int
	name  string
	plan  *plan
}

type keyPlan struct{ index []int }

// form says how a value is read.
type form int

const (
	formLeaf   form = iota // zero or not
	formOpaque             // zero, or it cannot be judged
	formLength             // absent, empty or filled: what is inside belongs to whoever set it as a whole
	formStruct
	formPointer
	formMap  // its keys, and each value
	formList // its elements by key, and each of them
	formSet  // its elements
)

type seenKey struct {
	typ reflect.Type
	ref string
}

// compiler makes plans from a Go type and the schema of the same name side by side.
type compiler struct {
	schema *schema.Schema
	seen   map[seenKey]*plan // recursive types end here
}

// leaves are the types that are one value to clients, whatever they look like in Go.
func leaves() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[metav1.Duration](),
	}
}

func (c *compiler) compile(t reflect.Type, ref schema.TypeRef) *plan {
	if ref.NamedType != nil {
		key := seenKey{t, *ref.NamedType}
		if p := c.seen[key]; p != nil && ref.ElementRelationship == nil {
			return p
		}
		p := &plan{}
		c.seen[key] = p
		c.fill(p, t, ref)
		return p
	}
	p := &plan{}
	c.fill(p, t, ref)
	return p
}

func (c *compiler) fill(p *plan, t reflect.Type, ref schema.TypeRef) {
	if t.Kind() == reflect.Pointer {
		p.form, p.elem = formPointer, c.compile(t.Elem(), ref)
		return
	}
	if slices.Contains(leaves(), t) {
		return
	}
	if t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()) {
		p.form = c.marshalled(t)
		return
	}
	atom, known := c.schema.Resolve(ref)
	if !known {
		p.form = formOpaque
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.fillStruct(p, t, atom)
	case reflect.Map:
		c.fillMap(p, t, atom)
	case reflect.Slice:
		c.fillList(p, t, atom)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.Array:
		p.form = formOpaque
	}
}

// marshalled types write themselves: quantities and strings-or-numbers are never absent where they are present in Go.
func (c *compiler) marshalled(t reflect.Type) form {
	switch t.String() {
	case "resource.Quantity", "intstr.IntOrString":
		return formLeaf
	}
	return formOpaque
}

func (c *compiler) fillStruct(p *plan, t reflect.Type, atom schema.Atom) {
	p.form, p.byName = formStruct, map[string]int{}
	c.addFields(p, t, nil, atom)
}

func (c *compiler) addFields(p *plan, t reflect.Type, index []int, atom schema.Atom) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := append(slices.Clone(index), i)
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && (field.Anonymous || strings.Contains(options, "inline")):
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				p.fields = append(p.fields, fieldPlan{at, field.Name, &plan{form: formOpaque}})
				continue
			}
			c.addFields(p, inner, at, atom)
		default:
			p.byName[name] = len(p.fields)
			p.fields = append(p.fields, fieldPlan{at, name, c.compile(field.Type, c.fieldRef(atom, name))})
		}
	}
}

func (c *compiler) fieldRef(atom schema.Atom, name string) schema.TypeRef {
	if atom.Map == nil {
		return schema.TypeRef{}
	}
	if field, ok := atom.Map.FindField(name); ok {
		return field.Type
	}
	return atom.Map.ElementType
}

func (c *compiler) fillMap(p *plan, t reflect.Type, atom schema.Atom) {
	if atom.Map == nil || t.Key().Kind() != reflect.String {
		p.form = formOpaque
		return
	}
	if atom.Map.ElementRelationship == schema.Atomic {
		p.form = formLength
		return
	}
	p.form, p.elem = formMap, c.compile(t.Elem(), atom.Map.ElementType)
}

func (c *compiler) fillList(p *plan, t reflect.Type, atom schema.Atom) {
	switch {
	case t.Elem().Kind() == reflect.Uint8, atom.List != nil && atom.List.ElementRelationship != schema.Associative:
		p.form = formLength
	case atom.List == nil:
		p.form = formOpaque
	case len(atom.List.Keys) == 0:
		p.form = formSet
		if t.Elem().Kind() != reflect.String {
			p.form = formOpaque
		}
	default:
		p.form, p.elem = formList, c.compile(t.Elem(), atom.List.ElementType)
		c.addKeys(p, atom.List.Keys)
	}
}

func (c *compiler) addKeys(p *plan, names []string) {
	for _, name := range names {
		i, ok := p.elem.byName[name]
		if p.elem.form != formStruct || !ok {
			p.form = formOpaque
			return
		}
		p.keys = append(p.keys, &keyPlan{p.elem.fields[i].index})
	}
}

// The marks in a shape. They keep two different shapes from having the same bytes.
const (
	markZero = iota
	markSet
	markEmpty
	markEnd
)

// append writes the value's part of the shape; false when it cannot be judged.
func (p *plan) append(out []byte, v reflect.Value) ([]byte, bool) {
	switch p.form {
	case formLeaf:
		return append(out, zeroMark(v)), true
	case formOpaque:
		return append(out, markZero), v.IsZero()
	case formLength:
		return append(out, lengthMark(v)), true
	case formPointer:
		if v.IsNil() {
			return append(out, markZero), true
		}
		return p.elem.append(append(out, markSet), v.Elem())
	case formStruct:
		return p.appendStruct(out, v)
	case formMap:
		return p.appendMap(out, v)
	default:
		return p.appendList(out, v)
	}
}

func zeroMark(v reflect.Value) byte {
	if v.IsZero() {
		return markZero
	}
	return markSet
}

func lengthMark(v reflect.Value) byte {
	switch {
	case v.IsNil():
		return markZero
	case v.Len() == 0:
		return markEmpty
	}
	return markSet
}

func (p *plan) appendStruct(out []byte, v reflect.Value) ([]byte, bool) {
	for i := range p.fields {
		field := &p.fields[i]
		var ok bool
		if len(field.index) == 1 {
			out, ok = field.plan.append(out, v.Field(field.index[0]))
		} else {
			out, ok = field.plan.append(out, v.FieldByIndex(field.index))
		}
		if !ok {
			return out, false
		}
	}
	return out, true
}

func (p *plan) appendMap(out []byte, v reflect.Value) ([]byte, bool) {
	out = append(out, lengthMark(v))
	if v.Len() == 0 {
		return out, true
	}
	if p.elem.form == formLeaf {
		if plain, ok := v.Interface().(map[string]string); ok {
			return appendKeys(out, plain), true
		}
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		var ok bool
		if out, ok = p.elem.append(appendText(out, key.String()), v.MapIndex(key)); !ok {
			return out, false
		}
	}
	return append(out, markEnd), true
}

// appendKeys writes the keys of the commonest map. A value that is there is set, whatever it is.
func appendKeys(out []byte, m map[string]string) []byte {
	var room [16]string
	keys := room[:0]
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		out = appendText(out, key)
	}
	return append(out, markEnd)
}

func (p *plan) appendList(out []byte, v reflect.Value) ([]byte, bool) {
	out = append(out, lengthMark(v))
	n := v.Len()
	out = binary.AppendUvarint(out, uint64(n))
	for i := range n {
		elem := v.Index(i)
		if p.form == formSet {
			out = appendText(out, elem.String())
			continue
		}
		for _, key := range p.keys {
			var ok bool
			if out, ok = appendScalar(out, elem.FieldByIndex(key.index)); !ok {
				return out, false
			}
		}
		var ok bool
		if out, ok = p.elem.append(out, elem); !ok {
			return out, false
		}
	}
	return out, true
}

// appendScalar writes the value of a list's key.
func appendScalar(out []byte, v reflect.Value) ([]byte, bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return append(out, markZero), true
		}
		return appendScalar(append(out, markSet), v.Elem())
	case reflect.String:
		return appendText(out, v.String()), true
	case reflect.Int, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(out, v.Int()), true
	case reflect.Bool:
		if v.Bool() {
			return append(out, markSet), true
		}
		return append(out, markZero), true
	}
	return out, false
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}
