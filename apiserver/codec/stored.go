package codec

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// EncodeStored returns the value under which obj lies in the store: upstream's layout, so that data can move both ways. Types
// without a protobuf form are stored as JSON. The object's resourceVersion must be empty.
func EncodeStored(obj runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	if CanProto(obj) {
		body, err := MarshalProto(obj)
		if err != nil {
			return nil, err
		}
		return Wrap(gvk, body), nil
	}
	SetKind(obj, gvk)
	return json.Marshal(obj)
}

// DecodeStored fills into from a stored value and returns what the value says it is.
func DecodeStored(value []byte, into runtime.Object) (schema.GroupVersionKind, error) {
	if !bytes.HasPrefix(value, envelope) {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(value, into); err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("decode stored json: %w", err)
		}
		return into.GetObjectKind().GroupVersionKind(), nil
	}
	gvk, body, err := Unwrap(value)
	if err != nil {
		return gvk, err
	}
	m, ok := into.(message)
	if !ok {
		return gvk, fmt.Errorf("decode stored protobuf: %T has no protobuf form", into)
	}
	if err := m.Unmarshal(body); err != nil {
		return gvk, fmt.Errorf("decode stored protobuf: %w", err)
	}
	SetKind(into, gvk)
	return gvk, nil
}

// Unwrap returns the bare protobuf body of an envelope, sharing its memory, and the kind it names.
func Unwrap(value []byte) (schema.GroupVersionKind, []byte, error) {
	if !bytes.HasPrefix(value, envelope) {
		return schema.GroupVersionKind{}, nil, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", envelope)
	}
	var kind runtime.TypeMeta
	var body []byte
	for rest := value[len(envelope):]; len(rest) > 0; {
		field, data, next, err := nextField(rest)
		if err != nil {
			return schema.GroupVersionKind{}, nil, err
		}
		rest = next
		switch field {
		case 1:
			if err := kind.Unmarshal(data); err != nil {
				return schema.GroupVersionKind{}, nil, fmt.Errorf("decode envelope: %w", err)
			}
		case 2:
			body = data
		}
	}
	return schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind), body, nil
}

// Body returns the bare protobuf body of an envelope, sharing its memory. It does not look at what the envelope names, which costs
// more than everything else about it.
func Body(value []byte) ([]byte, bool) {
	if !bytes.HasPrefix(value, envelope) {
		return nil, false
	}
	for rest := value[len(envelope):]; len(rest) > 0; {
		field, data, next, err := nextField(rest)
		if err != nil {
			return nil, false
		}
		if field == 2 {
			return data, true
		}
		rest = next
	}
	return nil, true
}

// nextField splits the first length-delimited field off data. Envelopes have no other fields.
func nextField(data []byte) (field int, value, rest []byte, err error) {
	tag, data, ok := takeVarint(data)
	if !ok || tag&7 != 2 {
		return 0, nil, nil, fmt.Errorf("decode envelope: malformed field")
	}
	size, data, ok := takeVarint(data)
	if !ok || size > uint64(len(data)) {
		return 0, nil, nil, fmt.Errorf("decode envelope: truncated field")
	}
	return int(tag >> 3), data[:size], data[size:], nil
}

func takeVarint(data []byte) (uint64, []byte, bool) {
	var v uint64
	for i := 0; i < len(data) && i < 10; i++ {
		v |= uint64(data[i]&0x7f) << (7 * i)
		if data[i] < 0x80 {
			return v, data[i+1:], true
		}
	}
	return 0, nil, false
}
