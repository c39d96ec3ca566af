package rest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/bits"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// protoBody is an item's protobuf form: bytes, and how many more its resource version takes.
type protoBody struct {
	raw   []byte
	extra int
}

func (b protoBody) size() int { return len(b.raw) + b.extra }

// shown is an item of a list in the row's version: what is stored or, for another version, the object that was made of it.
type shown struct {
	entry cache.Entry
	obj   registry.Object // nil: the entry itself
}

// items are the objects of a list as the row's version shows them, converted together where that is needed.
func (r *row) items(ctx context.Context, l *listing) ([]shown, error) {
	out := make([]shown, len(l.entries))
	if r.kind == r.stored {
		for i, e := range l.entries {
			out[i].entry = e
		}
		return out, nil
	}
	entries, objs, err := r.views(ctx, l.entries)
	for i, obj := range objs {
		out[i] = shown{entries[i], obj}
	}
	return out[:len(objs)], err
}

// proto returns the stored body, or for another version than the stored one a body made for it.
func (s shown) proto() (protoBody, error) {
	obj := s.obj
	if obj == nil {
		if body, ok := codec.Body(s.entry.Stored()); ok {
			return protoBody{body, 4 + digits(s.entry.Revision())}, nil
		}
		if obj = s.entry.Object(); obj == nil {
			return protoBody{}, fmt.Errorf("object %q cannot be decoded", s.entry.Key())
		}
	}
	body, err := codec.MarshalProto(obj)
	return protoBody{raw: body}, err
}

// document is the finished JSON without the newline; nil if there is none.
func (s shown) document() []byte {
	if s.obj == nil {
		return bytes.TrimSuffix(s.entry.JSON(), []byte("\n"))
	}
	doc, err := codec.Encode(s.obj, codec.JSON)
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(doc, []byte("\n"))
}

// writeItem writes one item of a list, with its resource version if the body lacks it. scratch is room to work in.
func writeItem(out *bufio.Writer, scratch []byte, body protoBody, revision int64) []byte {
	scratch = codec.AppendVarint(append(scratch[:0], 2<<3|2), uint64(body.size()))
	_, _ = out.Write(scratch)
	_, _ = out.Write(body.raw)
	if body.extra > 0 {
		var digits [20]byte
		scratch = codec.AppendRevision(scratch[:0], strconv.AppendInt(digits[:0], revision, 10))
		_, _ = out.Write(scratch)
	}
	return scratch
}

// fieldSize is how many bytes a field with the number below 16 takes.
func fieldSize(n int) int { return 1 + (bits.Len64(uint64(n)|1)+6)/7 + n }

func digits(v int64) int {
	n := 1
	for v >= 10 {
		v /= 10
		n++
	}
	return n
}

func (r *row) listKind() schema.GroupVersionKind {
	gvk := r.kind.GVK
	gvk.Kind += "List"
	return gvk
}

func fillList(r *row, list runtime.Object, items []runtime.Object, listMeta metav1.ListMeta) (runtime.Object, error) {
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(listMeta.ResourceVersion)
	accessor.SetContinue(listMeta.Continue)
	accessor.SetRemainingItemCount(listMeta.RemainingItemCount)
	codec.SetKind(list, r.listKind())
	return list, nil
}
