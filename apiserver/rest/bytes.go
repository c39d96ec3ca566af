package rest

import (
	"bufio"
	"bytes"
	"math/bits"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
)

// protoBody is an item's protobuf form: bytes, and how many more its resource version takes.
type protoBody struct {
	raw   []byte
	extra int
}

func (b protoBody) size() int { return len(b.raw) + b.extra }

// proto returns the entry's stored body, or for another version than the stored one a body made for it.
func (r *row) proto(e cache.Entry) (protoBody, error) {
	if r.kind == r.stored {
		if body, ok := codec.Body(e.Stored()); ok {
			return protoBody{body, 4 + digits(e.Revision())}, nil
		}
	}
	obj, err := r.view(e)
	if err != nil {
		return protoBody{}, err
	}
	body, err := codec.MarshalProto(obj)
	return protoBody{raw: body}, err
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

// document is the entry's finished JSON without the newline.
func (r *row) document(e cache.Entry) []byte {
	if r.kind == r.stored {
		return bytes.TrimSuffix(e.JSON(), []byte("\n"))
	}
	obj, err := r.view(e)
	if err != nil {
		return nil
	}
	doc, err := codec.Encode(obj, codec.JSON)
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(doc, []byte("\n"))
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
