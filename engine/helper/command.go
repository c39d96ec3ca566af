package helper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Build tells this program's helper from that of another build.
func Build() (string, error) {
	program, err := Program()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:8]), nil
}

// Run runs the embedded program from sealed memory, in a session of its own, and waits for its end. Its modes that begin with "launch" end as soon as
// they have started what they are for.
func Run(ctx context.Context, output *os.File, args ...string) error {
	program, err := Program()
	if err != nil {
		return err
	}
	exe, err := sealed(program)
	if err != nil {
		return err
	}
	defer exe.Close()
	cmd := exec.CommandContext(ctx, "/proc/"+strconv.Itoa(os.Getpid())+"/fd/"+strconv.Itoa(int(exe.Fd())))
	cmd.Args = append([]string{"cuppa-helper"}, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run helper: %w", err)
	}
	return nil
}
