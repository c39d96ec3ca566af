package kinds

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func randomSource() rand.Source { return rand.NewSource(37) }

type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// TestProtobufRoundTrips: what is stored is what was sent, for every field of every kind, and in one form only, as unchanged
// objects are recognised by their bytes.
func TestProtobufRoundTrips(t *testing.T) {
	for _, k := range All().Kinds() {
		t.Run(k.GVK.String(), func(t *testing.T) {
			fuzzed(t, k, 50, func(obj registry.Object) {
				var bytesOf [3][]byte
				current := obj
				for i := range bytesOf {
					content, err := current.(message).Marshal()
					if err != nil {
						t.Fatal(err)
					}
					bytesOf[i] = content
					current = k.New()
					if err := current.(message).Unmarshal(content); err != nil {
						t.Fatal(err)
					}
				}
				if !meta.Same(obj, current) {
					t.Fatalf("lost in the store:\n%s", cmp.Diff(runtime.Object(obj), runtime.Object(current)))
				}
				// An empty value in a map of bytes has two forms before it was read once, and one after.
				if !bytes.Equal(bytesOf[1], bytesOf[2]) {
					t.Fatal("bytes differ after a round trip")
				}
			})
		})
	}
}
