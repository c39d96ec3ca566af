// Package volume puts a pod's volumes on this node's disk and keeps those that mirror API objects up to date.
//
// It does not mount anything into containers: Mounts says what the runtime should. What comes from the API (ConfigMaps, Secrets, tokens,
// the downward API) lives below the run directory, which is memory, so that no secret reaches a disk; emptyDir
// lives below the data directory. Start with Keeper, and with the table of kinds in driver.go.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/objects"
)

// Source is where the contents of API volumes come from.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Token(ctx context.Context, pod *corev1.Pod, audience string, lifetime time.Duration) (objects.Token, error)
}

// Config is what a Keeper needs.
type Config struct {
	DataRoot string // survives a reboot: emptyDir
	RunRoot  string // does not: what mirrors the API
	Source   Source
	Logger   *slog.Logger
	Now      func() time.Time
}

// Keeper sets up and takes down the volumes of pods.
type Keeper struct {
	Config
	rows   []row
	mu     sync.Mutex
	tokens map[tokenKey]tokenEntry

	step func(string) // called between the steps of an update, by tests
}

// New returns a Keeper. It touches nothing yet.
func New(config Config) (*Keeper, error) {
	if config.DataRoot == "" || config.RunRoot == "" || config.Source == nil {
		return nil, errkind.New(errkind.Invalid, "volume keeper: DataRoot, RunRoot and Source are required")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{Config: config, rows: table(), tokens: map[tokenKey]tokenEntry{}, step: func(string) {}}, nil
}

// PodDir is where a pod's files that survive a reboot are.
func (k *Keeper) PodDir(uid types.UID) string { return filepath.Join(k.DataRoot, string(uid)) }

// RunPodDir is where a pod's files in memory are.
func (k *Keeper) RunPodDir(uid types.UID) string { return filepath.Join(k.RunRoot, string(uid)) }

func (k *Keeper) subPaths(uid types.UID) string { return filepath.Join(k.RunPodDir(uid), "subpaths") }

// SetUp puts every volume of a pod in place. Calling it again changes nothing that is in place already. It returns when Refresh should be
// called at the latest, as Refresh does. The error names the volume.
func (k *Keeper) SetUp(ctx context.Context, pod *corev1.Pod, facts environ.Facts) (due time.Time, err error) {
	requests, rows, err := k.requests(pod, facts)
	if err != nil {
		return due, err
	}
	records := make([]Record, len(requests))
	for i := range requests {
		records[i] = requests[i].Record
	}
	if err := k.keep(pod.UID, records); err != nil {
		return due, err
	}
	for i, request := range requests {
		driver := rows[i].driver(k)
		err := driver.Stage(ctx, request)
		var next time.Time
		if err == nil {
			next, err = driver.Publish(ctx, request)
		}
		if err != nil {
			return due, setUpError(request.Volume, err)
		}
		due = sooner(due, next)
	}
	return due, nil
}

func setUpError(name string, err error) error {
	return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", name, err)
}

// requests finds the rows of a pod's volumes.
func (k *Keeper) requests(pod *corev1.Pod, facts environ.Facts) ([]Request, []row, error) {
	out, rows := make([]Request, len(pod.Spec.Volumes)), make([]row, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		r, err := k.rowOf(v)
		if err != nil {
			return nil, nil, setUpError(v.Name, err)
		}
		out[i], rows[i] = Request{Record: k.record(pod.UID, v, r), Pod: pod, Spec: v, Facts: facts}, r
	}
	return out, rows, nil
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Refresh brings the volumes that mirror the API up to date, each atomically. It returns when it should be called again at
// the latest because a token will be due; zero if never.
func (k *Keeper) Refresh(ctx context.Context, pod *corev1.Pod, facts environ.Facts) (time.Time, error) {
	requests, rows, err := k.requests(pod, facts)
	if err != nil {
		return time.Time{}, err
	}
	var next time.Time
	var all []error
	for i, request := range requests {
		if !rows[i].mirrors {
			continue
		}
		due, err := rows[i].driver(k).Publish(ctx, request)
		if err != nil {
			all = append(all, fmt.Errorf("refresh volume %q: %w", request.Volume, err))
		}
		next = sooner(next, due)
	}
	return next, errors.Join(all...)
}

// TearDown takes the volumes of a pod down and deletes their contents, except what is on the host's own paths. It may be called again.
func (k *Keeper) TearDown(ctx context.Context, uid types.UID) error {
	k.forgetTokens(uid)
	var errs []error
	errs = append(errs, k.clear(k.subPaths(uid))) // they hold volumes
	for _, r := range k.kept(uid) {
		found, ok := k.rowNamed(r.Driver)
		if !ok {
			k.Logger.Warn("this program knows no such kind of volume; it is left to whoever made it", "pod", uid, "volume", r.Volume, "kind", r.Driver)
			continue
		}
		driver := found.driver(k)
		err := driver.Unpublish(ctx, r)
		if err == nil {
			err = driver.Unstage(ctx, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("take down volume %q: %w", r.Volume, err))
		}
	}
	// What has no record, because that was damaged, lies in these.
	errs = append(errs, k.clear(filepath.Join(k.PodDir(uid), "volumes")), k.clear(k.RunPodDir(uid)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.forget(uid)
}

// clear takes a folder away with what is mounted in it, but not what that holds: a container may have mounted anything there.
func (k *Keeper) clear(dir string) error {
	busy, err := mount.Clear(dir)
	if len(busy) > 0 {
		k.Logger.Warn("mounts were in use and will end with their last user", "mounts", busy)
	}
	return err
}

// Remove deletes the last of a pod's files.
func (k *Keeper) Remove(ctx context.Context, uid types.UID) error {
	if err := k.TearDown(ctx, uid); err != nil {
		return err
	}
	return k.clear(k.PodDir(uid))
}

// Usage measures one volume of a pod. NotFound if the pod has none of that name.
func (k *Keeper) Usage(ctx context.Context, uid types.UID, name string) (mount.Used, error) {
	for _, r := range k.kept(uid) {
		if found, ok := k.rowNamed(r.Driver); ok && r.Volume == name {
			return found.driver(k).Usage(ctx, r)
		}
	}
	return mount.Used{}, errkind.New(errkind.NotFound, "pod %s has no volume %q", uid, name)
}

// Known lists the pods that have files here.
func (k *Keeper) Known() []types.UID {
	seen := map[types.UID]bool{}
	var out []types.UID
	for _, root := range []string{k.DataRoot, k.RunRoot} {
		entries, err := os.ReadDir(root)
		if err != nil {
			continue // not made yet
		}
		for _, entry := range entries {
			if uid := types.UID(entry.Name()); entry.IsDir() && !seen[uid] {
				seen[uid] = true
				out = append(out, uid)
			}
		}
	}
	return out
}

// fsGroup is who a volume's files belong to, beside root.
func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}
