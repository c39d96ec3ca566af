package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// The record after an update depends on the record before it, on the shapes of the old and the new object, on which values
// differ between the two, and on who writes. Most updates are like another one before: the binding of the next pod of a template, the next
// renewal of a lease, the next status of a deployment. So what the library made of the first serves the others too. As with shapes, what
// cannot be judged is left to the library.

// changeLimit bounds the changes remembered.
const changeLimit = 2048

// outcome is the record after an update: entries, of which some are as old as they were and some are new.
type outcome []outcomeEntry

type outcomeEntry struct {
	entry metav1.ManagedFieldsEntry // without a time
	fresh bool
}

// Update records a write that is not an apply. live is what is stored; obj may be changed and is what it returns. A fault of the record
// never stops a write: the old record stays.
func (f *Fields) Update(kind *registry.Kind, subresource string, live, obj registry.Object, manager string) (registry.Object, error) {
	room := f.shapes.keys.Get().(*[]byte)
	defer f.shapes.keys.Put(room)
	if kind.Untyped {
		return f.update(kind, subresource, live, obj, manager)
	}
	key, judged := f.change((*room)[:0], kind, subresource, live, obj, manager)
	*room = key
	if !judged {
		return f.update(kind, subresource, live, obj, manager)
	}
	if known, ok := f.shapes.change(key); ok {
		if fields, ok := known.restore(live.GetManagedFields()); ok {
			obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
			obj.SetManagedFields(fields)
			return obj, nil
		}
	}
	made, err := f.learn(kind, subresource, live, obj, manager)
	if err != nil {
		return nil, err
	}
	fields, ok := made.restore(live.GetManagedFields())
	if !ok {
		return f.update(kind, subresource, live, obj, manager)
	}
	f.shapes.rememberChange(key, made)
	obj.SetManagedFields(fields)
	return obj, nil
}

// long is when an entry was made that is not new: any time that is not now.
func long(i int) *metav1.Time { return &metav1.Time{Time: time.Unix(int64(i), 0)} }

// learn lets the library make the record, of entries that seem old, so that what is new can be told from what is not.
func (f *Fields) learn(kind *registry.Kind, subresource string, live, obj registry.Object, manager string) (outcome, error) {
	aged := live.DeepCopyObject().(registry.Object)
	entries := aged.GetManagedFields()
	for i := range entries {
		entries[i].Time = long(i)
	}
	aged.SetManagedFields(entries)
	obj.SetManagedFields(nil) // the library then goes by the stored one, which the client did not change
	updated, err := f.update(kind, subresource, aged, obj, manager)
	if err != nil {
		return nil, err
	}
	after := updated.GetManagedFields()
	made := make(outcome, len(after))
	for i := range after {
		made[i] = outcomeEntry{entry: after[i], fresh: after[i].Time == nil || after[i].Time.After(long(len(entries)).Time)}
		made[i].entry.Time = nil
	}
	return made, nil
}

func (s *shapes) change(key []byte) (outcome, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known, ok := s.changes[string(key)]
	return known, ok
}

func (s *shapes) rememberChange(key []byte, made outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changes) >= changeLimit {
		clear(s.changes) // those in use come back with the next update of theirs
	}
	s.changes[string(key)] = made
}

// identity is what tells the entries of a record apart.
func identity(a, b *metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource
}

// restore makes the record of another object from what was learnt.
func (o outcome) restore(before []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, bool) {
	if len(o) == 0 {
		return nil, true
	}
	now := metav1.Time{Time: time.Now().UTC().Truncate(time.Second)}
	out := make([]metav1.ManagedFieldsEntry, len(o))
	for i := range o {
		out[i] = o[i].entry
		if o[i].fresh {
			out[i].Time = &now
			continue
		}
		j := slices.IndexFunc(before, func(e metav1.ManagedFieldsEntry) bool { return identity(&e, &out[i]) })
		if j < 0 || before[j].Time == nil {
			return nil, false
		}
		out[i].Time = before[j].Time
	}
	slices.SortStableFunc(out, order)
	return out, true
}

// order is the library's: what is applied first, then by age.
func order(p, q metav1.ManagedFieldsEntry) int {
	if p.Operation != q.Operation {
		return strings.Compare(string(p.Operation), string(q.Operation))
	}
	if a, b := p.Time.Unix(), q.Time.Unix(); a != b {
		return int(max(-1, min(1, a-b)))
	}
	if c := strings.Compare(p.Manager, q.Manager); c != 0 {
		return c
	}
	if c := strings.Compare(p.APIVersion, q.APIVersion); c != 0 {
		return c
	}
	return strings.Compare(p.Subresource, q.Subresource)
}

// change writes down everything that the record after an update depends on; false when that cannot be judged.
func (f *Fields) change(out []byte, kind *registry.Kind, subresource string, live, obj registry.Object, manager string) ([]byte, bool) {
	types, err := f.converter()
	if err != nil {
		return out, false
	}
	p := f.shapes.plan(kind, types)
	before := live.GetManagedFields()
	if p == nil || len(before) > maxEntries || (subresource == "" && !sameRecord(before, obj.GetManagedFields())) {
		return out, false
	}
	out = appendText(appendText(appendText(out, kind.GVK.String()), subresource), manager)
	for i := range before {
		e := &before[i]
		if e.FieldsV1 == nil {
			return out, false
		}
		for _, text := range []string{e.Manager, string(e.Operation), e.APIVersion, e.Subresource, e.FieldsType} {
			out = appendText(out, text)
		}
		raw := e.FieldsV1.GetRawBytes()
		out = append(appendText(out, fmt.Sprint(len(raw))), raw...)
	}
	a, b := reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem()
	ok := live.GetUID() != ""
	for _, v := range []reflect.Value{a, b} {
		if ok {
			out, ok = p.append(append(out, markEnd), v)
		}
	}
	if !ok {
		return out, false
	}
	return p.compare(append(out, markEnd), a, b)
}

// maxEntries is from where on the library merges entries by age.
const maxEntries = 9

// sameRecord is true when the client left the record as it found it, or did not send it.
func sameRecord(before, sent []metav1.ManagedFieldsEntry) bool {
	if sent == nil {
		return true
	}
	return len(before) == len(sent) && len(sent) > 0 && slices.EqualFunc(before, sent, func(a, b metav1.ManagedFieldsEntry) bool {
		return identity(&a, &b) && a.Time.Equal(b.Time) && a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
	})
}

// compare writes one mark for each value that both objects have: equal or not, exactly as the library would find.
func (p *plan) compare(out []byte, a, b reflect.Value) ([]byte, bool) {
	switch p.form {
	case formLeaf, formLength:
		if equal(a, b) {
			return append(out, markEmpty), true
		}
		return append(out, markSet), true
	case formOpaque, formSet:
		return out, true // the first is absent in both, the second is in the shapes with all it has
	case formPointer:
		if a.IsNil() || b.IsNil() {
			return out, true
		}
		return p.elem.compare(out, a.Elem(), b.Elem())
	case formStruct:
		for i := range p.fields {
			var ok bool
			index := p.fields[i].index
			if out, ok = p.fields[i].plan.compare(out, a.FieldByIndex(index), b.FieldByIndex(index)); !ok {
				return out, false
			}
		}
		return out, true
	case formMap:
		return p.compareMaps(out, a, b)
	default:
		return p.compareLists(out, a, b)
	}
}

// equal compares as clients see the values: as JSON.
func equal(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.String:
		return a.String() == b.String()
	case reflect.Bool:
		return a.Bool() == b.Bool()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return a.Int() == b.Int()
	}
	x, y := a.Interface(), b.Interface()
	if reflect.DeepEqual(x, y) {
		return true
	}
	left, err := json.Marshal(x)
	if err != nil {
		return false
	}
	right, err := json.Marshal(y)
	return err == nil && bytes.Equal(left, right)
}

func (p *plan) compareMaps(out []byte, a, b reflect.Value) ([]byte, bool) {
	if a.Len() == 0 || b.Len() == 0 {
		return out, true
	}
	keys := a.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		other := b.MapIndex(key)
		if !other.IsValid() {
			continue
		}
		var ok bool
		if out, ok = p.elem.compare(out, a.MapIndex(key), other); !ok {
			return out, false
		}
	}
	return out, true
}

// listLimit bounds the lists that are compared here, because each element is looked for among all.
const listLimit = 64

func (p *plan) compareLists(out []byte, a, b reflect.Value) ([]byte, bool) {
	if a.Len() > listLimit || b.Len() > listLimit || p.twice(a) || p.twice(b) {
		return out, false
	}
	for i := range a.Len() {
		j := p.find(b, a.Index(i), 0)
		if j < 0 {
			continue
		}
		var ok bool
		if out, ok = p.elem.compare(out, a.Index(i), b.Index(j)); !ok {
			return out, false
		}
	}
	return out, true
}

// find returns where in the list from from on the element with the same keys is, or -1.
func (p *plan) find(list, elem reflect.Value, from int) int {
	for i := from; i < list.Len(); i++ {
		same := true
		for _, key := range p.keys {
			same = same && equal(list.Index(i).FieldByIndex(key.index), elem.FieldByIndex(key.index))
		}
		if same {
			return i
		}
	}
	return -1
}

// twice is true when two elements have the same keys, which the library treats in ways of its own.
func (p *plan) twice(list reflect.Value) bool {
	for i := range list.Len() {
		if p.find(list, list.Index(i), i+1) >= 0 {
			return true
		}
	}
	return false
}
