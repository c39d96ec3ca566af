package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// recordsFile lies in a pod's folder that survives a reboot.
const recordsFile = "volumes.json"

// keep writes down which volumes a pod has, before the first of them is touched. It is not synced: after a power cut no mount is left
// that it would have to tell of, and what lies on the disk is below the pod's folder.
func (k *Keeper) keep(uid types.UID, records []Record) error {
	if have := k.kept(uid); slices.Equal(have, records) {
		return nil
	}
	data, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("record volumes: %w", err)
	}
	path := filepath.Join(k.PodDir(uid), recordsFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("record volumes: %w", err)
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("record volumes: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record volumes: %w", err)
	}
	return nil
}

// kept reads which volumes a pod has. A damaged record counts as none: TearDown finds by path what our own drivers have made.
func (k *Keeper) kept(uid types.UID) []Record {
	path := filepath.Join(k.PodDir(uid), recordsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var out []Record
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		k.Logger.Warn("cannot read which volumes a pod has", "pod", uid, "err", err)
		return nil
	}
	return out
}

// forget removes the record.
func (k *Keeper) forget(uid types.UID) error {
	err := os.Remove(filepath.Join(k.PodDir(uid), recordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
