package codec_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/apiserver/codec"
)

// FuzzReviseJSON: no bytes make it fail, and what is served of an object as an encoder writes it is the same object with the resource version in
// its own metadata, and nowhere else.
func FuzzReviseJSON(f *testing.F) {
	for _, doc := range []string{
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}`,
		`{"metadata":{}}`,
		`{"spec":{"template":{"metadata":{"labels":{}}}},"metadata":{"name":"a"}}`,
		`{"a":"metadata","b":["metadata",{"metadata":{"x":1}}],"metadata":{"name":"}\"{"}}`,
		`{"data":{"k":"\"metadata\":{"},"metadata":{"name":"a"}}`,
		`{"metadata":{"resourceVersion":"3"}}`,
		`{"metadata":null}`, `{"metadata":{`, `{"\\`, ``,
	} {
		f.Add([]byte(doc), int64(7))
	}
	f.Fuzz(func(t *testing.T, doc []byte, revision int64) {
		codec.ReviseJSON(doc, revision)
		want, ok := object(doc)
		if !ok {
			return
		}
		stored, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(stored)
		revised, ok := codec.ReviseJSON(stored, revision)
		if !bytes.Equal(before, stored) {
			t.Fatalf("what was stored changed from %s to %s", before, stored)
		}
		metadata, has := want["metadata"].(map[string]any)
		if !ok {
			if has && !bytes.Contains(stored, []byte(`"resourceVersion"`)) {
				t.Fatalf("%s was not understood", stored)
			}
			return
		}
		if !has {
			t.Fatalf("%s has no metadata, and became %s", stored, revised)
		}
		number, _ := json.Marshal(revision)
		metadata["resourceVersion"] = string(number)
		got, ok := object(revised)
		if !ok {
			t.Fatalf("%s became what is no JSON object: %s", stored, revised)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s became another object (-want +got):\n%s", stored, diff)
		}
	})
}

// object reads one JSON object, with its numbers as they are written.
func object(doc []byte) (map[string]any, bool) {
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	err := d.Decode(&out)
	return out, err == nil && out != nil
}
