package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
)

const recordFile = "record.json"

// sandboxState is where a pod stands. Between the two states it is being made or unmade, which counts as not ready, so that whoever
// finds it after a crash only has to remove it.
type sandboxState string

const (
	sandboxReady    sandboxState = "ready"
	sandboxNotReady sandboxState = "not ready"
)

// sandboxRecord is what is kept of a pod on the disk.
type sandboxRecord struct {
	ID             string
	Config         *runtimeapi.PodSandboxConfig
	RuntimeHandler string
	CreatedAt      time.Time
	State          sandboxState
	BootID         string
	Addresses      PodAddresses
	Namespaces     container.Namespaces
	Cgroup         string
	ShmSize        int64  // bytes of the pod's shared memory; 0: the default
	PidHolder      string // container whose pid namespace the pod's containers share, or ""
}

type sandbox struct {
	op sync.Mutex // one call at a time changes a pod
	sandboxRecord
	making bool // RunPodSandbox has not returned yet: nobody sees it, or it would be taken for a broken one
}

// containerRecord is what is kept of a container on the disk; its state is the runtime's to know.
type containerRecord struct {
	ID         string
	SandboxID  string
	Config     *runtimeapi.ContainerConfig
	ImageID    string
	ImageRef   string
	CreatedAt  time.Time
	LogPath    string
	StopSignal int
	Env        []string // complete, for exec
	Terminal   bool
}

type ctr struct {
	op sync.Mutex
	containerRecord
}

// writeRecord replaces a record as a whole. Records are not synced: the runtime's own, and the kubelet's next look, repair what a power
// cut takes.
func writeRecord(dir string, v any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make record folder: %w", err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	path := filepath.Join(dir, recordFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// readRecords calls visit for each record in a folder. A folder without a record was not finished, and is removed.
func readRecords(dir string, visit func(id string, read func(any) error) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name(), recordFile)
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove unfinished record: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read record: %w", err)
		}
		if err := visit(e.Name(), func(v any) error { return json.Unmarshal(data, v) }); err != nil {
			return err
		}
	}
	return nil
}
