package containertest

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
)

func TestFake(t *testing.T) {
	Run(t, func(t *testing.T) Subject {
		f := NewFake(nil)
		t.Cleanup(f.Close)
		return Subject{Runtime: f, Spec: func(id string, args ...string) container.Spec {
			return container.Spec{ID: id, OCI: &specs.Spec{Process: &specs.Process{Args: args}}}
		}}
	})
}
