package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const versionRuns = 20

// startOfProgram measures what every command begins with, and beside it the start of docker's client, if this machine has one.
func startOfProgram(ctx context.Context, b *bench) error {
	info, err := os.Stat(b.cuppa)
	if err != nil {
		return err
	}
	b.put("size", float64(info.Size())/(1<<20))
	programs := [][]string{{b.cuppa, "version"}}
	if docker, err := exec.LookPath("docker"); err == nil {
		programs = append(programs, []string{docker, "--version"})
	}
	took := make([][]time.Duration, len(programs))
	for range versionRuns + 1 {
		for i, p := range programs {
			ctx, cancel := context.WithTimeout(ctx, composeTimeout)
			began := time.Now()
			err := exec.CommandContext(ctx, p[0], p[1:]...).Run()
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", strings.Join(p, " "), err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	var figures []float64
	for i, p := range programs {
		peak, err := peakMemory(p)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(p, " "), err)
		}
		figures = append(figures, ms(quantile(took[i][1:], 0.5)), peak) // the first found nothing in memory
	}
	b.put("version", figures...)
	return nil
}

// peakMemory runs a program and returns the most memory that it held, in MB. It is read while the program is stopped at its exit: what the kernel
// tells a parent afterwards counts the parent's own memory from before the exec.
func peakMemory(argv []string) (float64, error) {
	runtime.LockOSThread() // the kernel knows tracers by thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	peak := 0.0
	var state syscall.WaitStatus
	for first := true; ; first = false {
		if _, err := syscall.Wait4(pid, &state, 0, nil); err != nil {
			return 0, err
		}
		if state.Exited() || state.Signaled() {
			return peak, nil
		}
		pass := 0
		switch {
		case first:
			if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACEEXIT); err != nil {
				return 0, err
			}
		case state.TrapCause() == syscall.PTRACE_EVENT_EXIT:
			peak = highWater(pid)
		default:
			pass = int(state.StopSignal())
		}
		if err := syscall.PtraceCont(pid, pass); err != nil {
			return 0, err
		}
	}
}

// highWater is the most memory that a process has held so far, in MB.
func highWater(pid int) float64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it is stopped, and so there
	for line := range strings.Lines(string(raw)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	return 0
}
