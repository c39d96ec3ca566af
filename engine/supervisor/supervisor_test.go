package supervisor_test

import (
	"testing"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/container/containertest"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
)

func TestRuntime(t *testing.T) {
	containertest.Run(t, func(t *testing.T) containertest.Subject {
		n := helpertest.Start(t)
		return containertest.Subject{Runtime: n.Client,
			Spec: func(id string, args ...string) container.Spec { return n.Spec(t, id, args...) }}
	})
}
