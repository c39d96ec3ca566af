package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers takes away what a node that was told to end has left: processes that name its folder, mounts below it, its cgroups. That
// something was left is a fault of the program under test, and told.
func leftovers(dir, run string) error {
	var left []string
	pids := processes(dir)
	for _, pid := range pids {
		left = append(left, fmt.Sprintf("process %d", pid))
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
	}
	for deadline := time.Now().Add(10 * time.Second); len(processes(dir)) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	mounts, err := mountsBelow(dir)
	errs := []error{err}
	// The innermost first.
	for _, path := range slices.Backward(mounts) {
		left = append(left, "mount "+path)
		errs = append(errs, unix.Unmount(path, unix.MNT_DETACH))
	}
	groups, err := cgroups(run)
	errs = append(errs, err)
	for _, path := range slices.Backward(groups) {
		left = append(left, "cgroup "+path)
		errs = append(errs, os.Remove(path))
	}
	if len(left) > 0 {
		errs = append(errs, fmt.Errorf("the node left behind, and it was taken away: %s", strings.Join(left, ", ")))
	}
	return errors.Join(errs...)
}

// processes finds those whose command line names a folder.
func processes(folder string) []int {
	var pids []int
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte(folder)) {
			continue // it has ended meanwhile, or is not ours
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mountsBelow is where something is mounted below a folder, in the order of mounting.
func mountsBelow(dir string) ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			out = append(out, fields[4])
		}
	}
	return out, nil
}

// cgroups are those of the node with this run folder, in every hierarchy, parents first.
func cgroups(run string) ([]string, error) {
	sum := sha256.Sum256([]byte(run))
	name := "cuppa-" + hex.EncodeToString(sum[:4])
	var out []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		roots, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, root := range roots {
			err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					out = append(out, path)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
