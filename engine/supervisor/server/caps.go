//go:build cgo

package server

import (
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
)

// allCapabilities lists what this kernel knows, in OCI's spelling.
func allCapabilities() []string {
	last := capability.CAP_CHECKPOINT_RESTORE
	if text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			last = min(last, capability.Cap(n))
		}
	}
	var all []string
	for c := capability.Cap(0); c <= last; c++ {
		all = append(all, "CAP_"+strings.ToUpper(c.String()))
	}
	return all
}
