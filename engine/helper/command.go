package helper

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Run runs the embedded program from sealed memory, in a session of its own, and waits for its end. Its modes that begin with "launch" end as soon as
// they have started what they are for. Extra files are descriptors 3 and up there.
func Run(ctx context.Context, output *os.File, extra []*os.File, args ...string) error {
	exe, err := sealed()
	if err != nil {
		return err
	}
	defer exe.Close()
	cmd := exec.CommandContext(ctx, "/proc/"+strconv.Itoa(os.Getpid())+"/fd/"+strconv.Itoa(int(exe.Fd())))
	cmd.Args = append([]string{"cuppa-helper"}, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = output, output, extra
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run helper: %w", err)
	}
	return nil
}
