package etcd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	store, stop := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir}))
	first, err := store.Create(t.Context(), "/registry/a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Update(t.Context(), "/registry/a", []byte("2"), first)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	store, _ = start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir}))
	kv, revision, err := store.Get(t.Context(), "/registry/a")
	if err != nil || string(kv.Value) != "2" || kv.CreateRevision != first || kv.ModRevision != second || revision < second {
		t.Errorf("after a restart: %+v at %d, %v", kv, revision, err)
	}
	page, err := store.Range(t.Context(), "/registry/", "", 0, first)
	if err != nil || len(page.KVs) != 1 || string(page.KVs[0].Value) != "1" {
		t.Errorf("history after a restart: %+v, %v", page, err)
	}
}

func TestDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir, Unsafe: true}))
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the data directory: %v, %v, want 0700", info.Mode(), err)
	}
	var size int64
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if info, e := d.Info(); e == nil && !d.IsDir() {
			size += info.Size()
		}
		return err
	})
	if size > 20<<20 {
		t.Errorf("a new data directory takes %d MB, want less than 20", size>>20)
	}
	err = embedded(t, etcd.EmbeddedConfig{Dir: dir}).Run(t.Context())
	if !errors.Is(err, errkind.Precondition) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second member on the same directory: %v, want a failed precondition that names it", err)
	}
}

func TestBadDataDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := embedded(t, etcd.EmbeddedConfig{Dir: file}).Run(t.Context())
	if !errors.Is(err, errkind.Unavailable) {
		t.Errorf("run on a file: %v, want Unavailable", err)
	}
}

func TestEndedBeforeItStarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := embedded(t, etcd.EmbeddedConfig{Unsafe: true}).Run(ctx); err != nil {
		t.Errorf("run with an ended context: %v", err)
	}
	m, err := etcd.NewExternal(etcd.ExternalConfig{Endpoints: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(ctx); err != nil || m.Store() != nil {
		t.Errorf("run with an ended context: %v, store %v", err, m.Store())
	}
}

func TestFullStore(t *testing.T) {
	dir := t.TempDir()
	store, stop := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir, Unsafe: true, Quota: 4 << 20}))
	written := fill(t, store)
	if written == 3000 {
		t.Fatal("300 MB fit into a store of 4 MB")
	}
	// Removals still work, and with them and a restart there is room again.
	var last int64
	for i := range written {
		kv, _, err := store.Get(t.Context(), fmt.Sprintf("/registry/full%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if last, err = store.Delete(t.Context(), kv.Key, kv.ModRevision); err != nil {
			t.Fatalf("delete in a full store: %v", err)
		}
	}
	if err := store.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	stop()
	store, _ = start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir, Unsafe: true, Quota: 4 << 20}))
	if _, err := store.Create(t.Context(), "/registry/again", []byte("x")); err != nil {
		t.Errorf("create after room was made: %v", err)
	}
}

// fill writes until the store says that it is full, and returns how many keys it took.
func fill(t *testing.T, store *etcd.Store) int {
	value := make([]byte, 100<<10)
	for i := range 3000 {
		_, err := store.Create(t.Context(), fmt.Sprintf("/registry/full%d", i), value)
		if errors.Is(err, errkind.Exhausted) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return 3000
}

func TestValueTooLarge(t *testing.T) {
	store, _ := start(t, embedded(t, etcd.EmbeddedConfig{Unsafe: true}))
	_, err := store.Create(t.Context(), "/registry/large", make([]byte, 4<<20))
	if !errors.Is(err, errkind.Invalid) {
		t.Errorf("a value of 4 MB: %v, want Invalid", err)
	}
}

func TestErrorsOfEtcdAreLogged(t *testing.T) {
	var out strings.Builder
	var mu sync.Mutex
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, nil))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "member"), []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := embedded(t, etcd.EmbeddedConfig{Dir: dir, Logger: log}).Run(t.Context())
	if !errors.Is(err, errkind.Unavailable) {
		t.Errorf("run = %v, want Unavailable", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(out.String(), "level=INFO") {
		t.Errorf("etcd's chatter is logged:\n%s", out.String())
	}
}

type lockedWriter struct {
	mu  *sync.Mutex
	out *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// TestCrashLosesNothingAcknowledged kills a process in the middle of concurrent writes and looks for every write it reported.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	const childDir = "CUPPA_TEST_ETCD_DIR"
	if dir := os.Getenv(childDir); dir != "" {
		writeForever(t, dir)
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestCrashLosesNothingAcknowledged$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if key, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
			acknowledged = append(acknowledged, key)
		}
		if len(acknowledged) == 500 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if len(acknowledged) < 500 {
		t.Fatalf("the child acknowledged %d writes and ended", len(acknowledged))
	}
	store, _ := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir}))
	page, err := store.Range(t.Context(), "/registry/", "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, kv := range page.KVs {
		there[kv.Key] = true
	}
	for _, key := range acknowledged {
		if !there[key] {
			t.Errorf("%s was acknowledged and is lost", key)
		}
	}
}

func writeForever(t *testing.T, dir string) {
	store, _ := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				key := fmt.Sprintf("/registry/%d/%d", i, j)
				if _, err := store.Create(t.Context(), key, make([]byte, 1000)); err != nil {
					t.Error(err)
					return
				}
				if _, err := fmt.Printf("ack %s\n", key); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestUseAfterTheEnd holds that nobody hangs who still uses the store while it goes away.
func TestUseAfterTheEnd(t *testing.T) {
	store, stop := start(t, embedded(t, etcd.EmbeddedConfig{Unsafe: true}))
	watch := store.Watch(t.Context(), "/registry/", 0)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := store.Create(ctx, "/registry/a", nil)
	if !errors.Is(err, errkind.Unavailable) || ctx.Err() != nil {
		t.Errorf("create after the end: %v, want Unavailable at once", err)
	}
	select {
	case batch := <-watch:
		if !errors.Is(batch.Err, errkind.Unavailable) {
			t.Errorf("the watch ends with %v, want Unavailable", batch.Err)
		}
	case <-ctx.Done():
		t.Error("the watch does not end")
	}
	if batch, ok := <-watch; ok {
		t.Errorf("%+v after the watch's end", batch)
	}
}
