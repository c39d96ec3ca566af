package mount_test

import (
	"testing"

	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain holds that the tests of this package leave nothing behind.
func TestMain(m *testing.M) { leak.Main(m) }
