package app

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/instance"
)

// takeLocks takes the run directory and the data directory: whoever shares only the second would find out much later, and in the middle.
func takeLocks(config Config) (release func(), err error) {
	run, err := instance.Take(config.RunDir)
	if err != nil {
		return nil, directories(config)[1].taken(err)
	}
	data, err := instance.Take(config.DataDir)
	if err != nil {
		run.Release()
		return nil, directories(config)[0].taken(err)
	}
	return func() { data.Release(); run.Release() }, nil
}

// taken says who has the directory, if it is that.
func (d directory) taken(err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return d.refuse(err)
	}
	by := "another process"
	if pid, _ := instance.Running(d.path); pid > 0 {
		by = fmt.Sprintf("a cuppa server (pid %d)", pid)
	}
	return errkind.New(errkind.Exists, "the %s %s is in use by %s; stop it with `cuppa server stop`, or choose another with %s", d.what, d.path, by, d.flag)
}

// rights says whether this process may run what the configuration asks for.
func rights(config Config) error {
	if config.NoNode {
		return nil
	}
	return instance.Rights()
}
