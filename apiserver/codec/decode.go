package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Decoded says what a body was, besides what it filled in.
type Decoded struct {
	GVK    schema.GroupVersionKind // as named by the body; missing parts are taken from the expected kind
	Strict []error                 // unknown and duplicate fields, when strict decoding was asked for
}

// ParseContentType returns the format of a request body. An empty header means JSON, as upstream has it.
func ParseContentType(header string) (Format, bool) {
	if header == "" {
		return JSON, true
	}
	// Nearly every header is one of the names and nothing else.
	if i := slices.Index(mediaTypes[:], header); i >= 0 {
		return Format(i), true
	}
	name, _, err := mime.ParseMediaType(header)
	if err != nil {
		return 0, false
	}
	i := slices.Index(mediaTypes[:], name)
	return Format(max(i, 0)), i >= 0
}

// Decode fills into from a request body. With strict set, unknown and duplicate fields are found and returned, and it is
// the caller's choice what to do about them. The error is a plain description of what is wrong with the bytes.
func Decode(body []byte, format Format, expected schema.GroupVersionKind, strict bool, into runtime.Object) (Decoded, error) {
	switch format {
	case Protobuf:
		return decodeProto(body, expected, into)
	case YAML:
		return decodeYAML(body, expected, strict, into)
	default:
		return decodeJSON(body, expected, strict, into)
	}
}

func decodeProto(body []byte, expected schema.GroupVersionKind, into runtime.Object) (Decoded, error) {
	gvk, raw, err := Unwrap(body)
	if err != nil {
		return Decoded{}, err
	}
	gvk = orExpected(gvk, expected)
	if gvk.Kind != expected.Kind {
		return Decoded{GVK: gvk}, mismatch(gvk, expected)
	}
	m, ok := into.(message)
	if !ok {
		return Decoded{GVK: gvk}, fmt.Errorf("object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", into)
	}
	if err := m.Unmarshal(raw); err != nil {
		return Decoded{GVK: gvk}, err
	}
	SetKind(into, gvk)
	return Decoded{GVK: gvk}, nil
}

func decodeYAML(body []byte, expected schema.GroupVersionKind, strict bool, into runtime.Object) (Decoded, error) {
	text, err := yaml.YAMLToJSON(body)
	if err != nil {
		return Decoded{}, err
	}
	decoded, err := decodeJSON(text, expected, strict, into)
	if err == nil && strict {
		// Duplicate keys vanish in the conversion, so they are looked for in the original.
		if _, dup := yaml.YAMLToJSONStrict(body); dup != nil {
			decoded.Strict = append([]error{dup}, decoded.Strict...)
		}
	}
	return decoded, err
}

func decodeJSON(body []byte, expected schema.GroupVersionKind, strict bool, into runtime.Object) (Decoded, error) {
	var kind runtime.TypeMeta
	gvk, ok := peekKind(body)
	if !ok {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(body, &kind); err != nil {
			return Decoded{}, fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
		}
		gvk = schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
		if _, err := schema.ParseGroupVersion(kind.APIVersion); err != nil {
			return Decoded{}, err
		}
	}
	gvk = orExpected(gvk, expected)
	if gvk.Kind != expected.Kind {
		return Decoded{GVK: gvk}, mismatch(gvk, expected)
	}
	var faults []error
	var err error
	var target any = into
	if u, ok := into.(*unstructured.Unstructured); ok {
		u.Object = map[string]any{} // its own decoder would insist on a kind, and not see what is there twice
		target = &u.Object
	}
	if strict {
		faults, err = kjson.UnmarshalStrict(body, target)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(body, target)
	}
	if err != nil {
		if !json.Valid(body) {
			// A document that is broken further down names no kind that could be relied on.
			return Decoded{}, fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
		}
		return Decoded{GVK: gvk}, err
	}
	SetKind(into, gvk)
	return Decoded{GVK: gvk, Strict: faults}, nil
}

// peekKind reads apiVersion and kind from a document that names exactly those two first, which is what Go clients send; any
// other document is parsed in full by the caller.
func peekKind(body []byte) (schema.GroupVersionKind, bool) {
	rest := body
	var apiVersion, kind string
	take := func(prefix string) (string, bool) {
		if !bytes.HasPrefix(rest, []byte(prefix)) {
			return "", false
		}
		value := rest[len(prefix):]
		end := bytes.IndexByte(value, '"')
		if end < 0 || bytes.IndexByte(value[:end], '\\') >= 0 {
			return "", false
		}
		rest = value[end+1:]
		return string(value[:end]), true
	}
	var ok bool
	if kind, ok = take(`{"kind":"`); ok {
		apiVersion, ok = take(`,"apiVersion":"`)
	} else if apiVersion, ok = take(`{"apiVersion":"`); ok {
		kind, ok = take(`,"kind":"`)
	}
	if !ok || strings.Count(apiVersion, "/") > 1 {
		return schema.GroupVersionKind{}, false
	}
	return schema.FromAPIVersionAndKind(apiVersion, kind), true
}

// orExpected fills in what a body left out: clients of a typed path may omit apiVersion and kind.
func orExpected(gvk, expected schema.GroupVersionKind) schema.GroupVersionKind {
	if gvk.Kind == "" {
		gvk.Kind = expected.Kind
	}
	if gvk.Version == "" && gvk.Group == "" {
		gvk.Group, gvk.Version = expected.Group, expected.Version
	}
	return gvk
}

func mismatch(got, expected schema.GroupVersionKind) error {
	family, _, _ := strings.Cut(expected.Group, ".")
	if family == "" {
		family = "core"
	}
	return fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion", got.Version, got.Kind, family, expected.Kind)
}
