package codec

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// Numbers of protobuf fields: the metadata of every kind, and within it what is left out.
const (
	fieldMetadata      = 1
	fieldManagedFields = 17
)

// DecodeStoredMeta decodes the metadata of a stored value and nothing else of it. ManagedFields, most of the metadata's bytes, are left out.
func DecodeStoredMeta(value []byte) (*metav1.PartialObjectMetadata, error) {
	out := &metav1.PartialObjectMetadata{}
	if !bytes.HasPrefix(value, envelope) {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(value, out); err != nil {
			return nil, fmt.Errorf("decode stored json metadata: %w", err)
		}
		out.ManagedFields = nil
		return out, nil
	}
	body, ok := Body(value)
	if !ok {
		return nil, fmt.Errorf("decode stored metadata: malformed envelope")
	}
	data, err := field(body, fieldMetadata)
	if err != nil {
		return nil, fmt.Errorf("decode stored metadata: %w", err)
	}
	if data, err = without(data, fieldManagedFields); err != nil {
		return nil, fmt.Errorf("decode stored metadata: %w", err)
	}
	if err := out.ObjectMeta.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("decode stored metadata: %w", err)
	}
	return out, nil
}

// field returns the message in a field of a message; nil if it is not there.
func field(data []byte, number protowire.Number) ([]byte, error) {
	for len(data) > 0 {
		n, kind, size := protowire.ConsumeField(data)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if n == number && kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(data)
			value, size := protowire.ConsumeBytes(data[tag:])
			if size < 0 {
				return nil, protowire.ParseError(size)
			}
			return value, nil
		}
		data = data[size:]
	}
	return nil, nil
}

// without returns a message without one of its fields, the same memory if that is not there.
func without(data []byte, number protowire.Number) ([]byte, error) {
	var out []byte
	for at := 0; at < len(data); {
		n, _, size := protowire.ConsumeField(data[at:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		switch {
		case n != number && out != nil:
			out = append(out, data[at:at+size]...)
		case n == number && out == nil:
			out = append(make([]byte, 0, len(data)), data[:at]...)
		}
		at += size
	}
	if out == nil {
		return data, nil
	}
	return out, nil
}
