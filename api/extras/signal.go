package extras

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The numbers of the real-time signals as programs know them.
const (
	signalMin, signalMax = 34, 64
	signalLast           = 64
)

// ParseSignal reads "SIGTERM", "TERM", "15" or "SIGRTMIN+3".
func ParseSignal(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= signalLast {
		return n, nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int(n), nil
	}
	for base, first := range map[string]int{"SIGRTMIN": signalMin, "SIGRTMAX": signalMax} {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			continue
		}
		offset := 0
		if rest != "" {
			var err error
			if offset, err = strconv.Atoi(rest); err != nil {
				break
			}
		}
		if n := first + offset; n >= signalMin && n <= signalMax {
			return n, nil
		}
	}
	return 0, errkind.New(errkind.Invalid, "signal %q is not known", text)
}
