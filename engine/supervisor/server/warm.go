//go:build cgo

package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
)

// warmFor is how long after a sign of work to come the kernel is kept ready for it, and warmEvery how often that has to be renewed.
const (
	warmFor   = 60 * time.Millisecond
	warmEvery = 4 * time.Millisecond
)

// warmer spares container starts a wait. Moving a process to a cgroup takes a lock of the kernel whose first writer waits for all
// processors to notice, 10 to 20 ms, while those that follow soon after do not. So as soon as a start is to be expected we take that
// lock ourselves, beside the work that has to be done anyway, by moving our own process to where it is already.
type warmer struct {
	file string // cgroup.procs of our own cgroup; "" if it could not be found

	mu      sync.Mutex
	until   time.Time
	running bool
}

func newWarmer() *warmer {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return &warmer{}
	}
	dirs := []string{filepath.Join("/sys/fs/cgroup", own[""])}
	for controller, path := range own {
		for name := range strings.SplitSeq(controller, ",") {
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", name, path))
		}
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "cgroup.procs")
		if err := rejoin(file); err == nil {
			return &warmer{file: file}
		}
	}
	return &warmer{}
}

// rejoin moves this process to the cgroup of the file, which must be its own.
func rejoin(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	return err
}

// soon says that a process will be started shortly.
func (w *warmer) soon() {
	if w.file == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = time.Now().Add(warmFor)
	if !w.running {
		w.running = true
		go w.run()
	}
}

func (w *warmer) run() {
	for {
		err := rejoin(w.file)
		w.mu.Lock()
		if err != nil || time.Now().After(w.until) {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		time.Sleep(warmEvery)
	}
}
