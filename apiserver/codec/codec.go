// Package codec turns objects into bytes and back: the three encodings of the API (JSON, YAML, protobuf), the
// negotiation that chooses among them, strict decoding, and the envelope in which objects lie in the store.
//
// It knows no kinds and no HTTP beyond header values. Start with Media (media.go), then Decode and Encode.
package codec

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Format is one of the wire encodings.
type Format int

// The formats.
const (
	JSON Format = iota
	YAML
	Protobuf
)

// The media types of the formats, in the order of Format.
var mediaTypes = [...]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

// MediaType is the content type of the format.
func (f Format) MediaType() string { return mediaTypes[f] }

// message is what the generated protobuf types of k8s.io/api offer.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// envelope begins every protobuf body and every stored protobuf value.
var envelope = []byte("k8s\x00")

// Encode returns the whole body of an object whose apiVersion and kind are set.
func Encode(obj runtime.Object, format Format) ([]byte, error) {
	switch format {
	case Protobuf:
		body, err := MarshalProto(obj)
		if err != nil {
			return nil, err
		}
		return Wrap(obj.GetObjectKind().GroupVersionKind(), body), nil
	case YAML:
		text, err := json.Marshal(obj)
		if err != nil {
			return nil, fmt.Errorf("encode as yaml: %w", err)
		}
		return yaml.JSONToYAML(text)
	default:
		var out bytes.Buffer
		if err := json.NewEncoder(&out).Encode(obj); err != nil {
			return nil, fmt.Errorf("encode as json: %w", err)
		}
		return out.Bytes(), nil
	}
}

// CanProto is true for the types that have a protobuf form.
func CanProto(obj runtime.Object) bool {
	_, ok := obj.(message)
	return ok
}

// MarshalProto returns the bare protobuf body of obj, without envelope, apiVersion and kind.
func MarshalProto(obj runtime.Object) ([]byte, error) {
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("encode as protobuf: %T has no protobuf form", obj)
	}
	buf := make([]byte, m.Size())
	n, err := m.MarshalToSizedBuffer(buf)
	if err != nil {
		return nil, fmt.Errorf("encode as protobuf: %w", err)
	}
	return buf[len(buf)-n:], nil
}

// Wrap puts a bare protobuf body into the envelope that says what it is.
func Wrap(gvk schema.GroupVersionKind, body []byte) []byte {
	out := appendHead(make([]byte, 0, len(body)+headRoom), gvk, len(body))
	return append(append(out, body...), wrapTail...)
}

// headRoom is enough for an envelope around any kind.
const headRoom = 128

// wrapTail is the empty contentEncoding and contentType that end an envelope.
var wrapTail = []byte{0x1a, 0, 0x22, 0}

// WrapHead is the part of an envelope before a body of the given size, for writers that stream the body; WrapTail ends it.
func WrapHead(gvk schema.GroupVersionKind, size int) []byte {
	return appendHead(nil, gvk, size)
}

func appendHead(dst []byte, gvk schema.GroupVersionKind, size int) []byte {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	dst = append(dst, envelope...)
	dst = append(dst, 1<<3|2)
	dst = AppendVarint(dst, uint64(len(apiVersion)+len(kind)+4)) // both are far below 128 bytes
	dst = AppendBytes(dst, 1, []byte(apiVersion))
	dst = AppendBytes(dst, 2, []byte(kind))
	dst = append(dst, 2<<3|2)
	return AppendVarint(dst, uint64(size))
}

// WrapTail ends an envelope that WrapHead began.
func WrapTail() []byte { return wrapTail }

// AppendBytes appends a length-delimited protobuf field.
func AppendBytes(buf []byte, field int, value []byte) []byte {
	buf = AppendVarint(buf, uint64(field)<<3|2)
	buf = AppendVarint(buf, uint64(len(value)))
	return append(buf, value...)
}

// AppendVarint appends a protobuf varint.
func AppendVarint(buf []byte, v uint64) []byte {
	for v >= 0x80 {
		buf = append(buf, byte(v)|0x80)
		v >>= 7
	}
	return append(buf, byte(v))
}

// AppendRevised appends body with the resource version added to it. Protobuf merges a message field that occurs twice, so a
// second metadata field that carries the version alone sets it without decoding what is there.
func AppendRevised(dst, body []byte, revision string) []byte {
	return AppendRevision(append(dst, body...), []byte(revision))
}

// AppendRevision appends the metadata field that AppendRevised adds.
func AppendRevision(dst, revision []byte) []byte {
	dst = AppendVarint(dst, 1<<3|2)
	dst = AppendVarint(dst, uint64(len(revision)+2))
	dst = AppendVarint(dst, 6<<3|2)
	dst = AppendVarint(dst, uint64(len(revision)))
	return append(dst, revision...)
}

// SetKind fills in apiVersion and kind.
func SetKind(obj runtime.Object, gvk schema.GroupVersionKind) {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
}

// StatusKind is the kind of error answers, in the core group as clients expect it.
var StatusKind = schema.GroupVersionKind{Version: "v1", Kind: "Status"}
