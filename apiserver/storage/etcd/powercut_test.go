package etcd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
)

// TestPowerCut cuts the power in the middle of an fsync, with many writes under way, and looks for every write that was acknowledged.
//
// A killed process proves too little: the kernel still writes out what it has been given. So a second process runs the member with every
// fsync of it seen by the test (seccomp hands the calls over), which keeps what a disk would surely have: each file as it was when its
// last fsync began, under the name it then had. In the middle of an fsync everything stops, the process is killed, and a member is
// started on what the disk has, and then on that with some sectors of what was just being written.
func TestPowerCut(t *testing.T) {
	const childDir = "CUPPA_TEST_POWER_DIR"
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilCut(t, dir)
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestPowerCut$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged, torn := followUntilCut(t, out)
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = child.Wait()
	if t.Failed() || t.Skipped() {
		return
	}
	if len(acknowledged) < 100 {
		t.Fatalf("only %d writes were acknowledged before the cut", len(acknowledged))
	}
	durable, now := filepath.Join(dir, "disk", torn), filepath.Join(dir, "torn")
	surely, err := os.ReadFile(durable)
	if err != nil {
		t.Fatal(err)
	}
	under, err := os.ReadFile(now)
	if err != nil {
		t.Fatal(err)
	}
	for i, tear := range tears(surely, under) {
		if err := os.WriteFile(durable, tear.content, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(tear.name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), fmt.Sprint(i))
			if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "disk"))); err != nil {
				t.Fatal(err)
			}
			wantAll(t, copied, acknowledged)
		})
	}
}

// sector is what a disk writes whole or not at all. Sectors may be written in any order.
const sector = 512

// tear is one way in which a file may have reached the disk.
type tear struct {
	name    string
	content []byte
}

// tears are the ways that differ most: none of the new sectors, the first of them, all but the last, all but one in the middle, all.
func tears(surely, under []byte) []tear {
	var changed []int // numbers of the sectors that were being written
	for n := 0; n*sector < len(under); n++ {
		if !bytes.Equal(part(surely, n), part(under, n)) {
			changed = append(changed, n)
		}
	}
	last := len(changed)
	wishes := []struct {
		name    string
		written func(i int) bool
	}{
		{"nothing of it", func(int) bool { return false }},
		{"its first sector", func(i int) bool { return i == 0 }},
		{"all but its first sector", func(i int) bool { return i != 0 }},
		{"all but its last sector", func(i int) bool { return i != last-1 }},
		{"all but one in the middle", func(i int) bool { return i != last/2 }},
		{"every second sector", func(i int) bool { return i%2 == 0 }},
		{"all of it", func(int) bool { return true }},
	}
	var all []tear
	for _, wish := range wishes {
		content := append(bytes.Clone(surely), make([]byte, max(0, len(under)-len(surely)))...)
		for i, n := range changed {
			if wish.written(i) {
				copy(content[n*sector:], part(under, n))
			}
		}
		all = append(all, tear{fmt.Sprintf("%s (of %d sectors)", wish.name, last), content})
	}
	return all
}

func part(content []byte, n int) []byte {
	return content[min(n*sector, len(content)):min((n+1)*sector, len(content))]
}

// followUntilCut reads what the child says: the writes that it acknowledged, and in the end the file whose fsync never returned.
func followUntilCut(t *testing.T, out interface{ Read([]byte) (int, error) }) (acknowledged []string, torn string) {
	t.Helper()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if key, ok := strings.CutPrefix(line, "ack "); ok {
			acknowledged = append(acknowledged, key)
		}
		if reason, ok := strings.CutPrefix(line, "skip "); ok {
			t.Skip("needs seccomp's notifications: " + reason)
		}
		if name, ok := strings.CutPrefix(line, "cut "); ok {
			return acknowledged, name
		}
	}
	t.Errorf("the child ended before the power was cut; it acknowledged %d writes", len(acknowledged))
	return nil, ""
}

func wantAll(t *testing.T, dir string, acknowledged []string) {
	t.Helper()
	store, stop := start(t, embedded(t, etcd.EmbeddedConfig{Dir: dir}))
	defer stop()
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
	if _, err := store.Create(t.Context(), "/registry/after", []byte("x")); err != nil {
		t.Errorf("write after the restart: %v", err)
	}
}

// writeUntilCut is the child: eight writers, and a disk that loses its power after a number of fsyncs.
func writeUntilCut(t *testing.T, dir string) {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	calls, err := interceptSync()
	if err != nil {
		fmt.Println("skip", err)
		return
	}
	d := &disk{root: data, inodes: map[uint64]*copied{}}
	acks := make(chan struct{}, 10000)
	go d.serve(t, calls, acks, dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := embedded(t, etcd.EmbeddedConfig{Dir: data})
	go m.Run(ctx)
	<-m.Ready()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				key := fmt.Sprintf("/registry/%d/%d", i, j)
				if _, err := m.Store().Create(ctx, key, make([]byte, 700)); err != nil {
					return
				}
				fmt.Printf("ack %s\n", key)
				acks <- struct{}{}
			}
		})
	}
	wg.Wait()
}

// copied is a file as the disk has it.
type copied struct {
	name    string // relative to the root
	content []byte
}

// disk keeps what surely survives a power cut. As on ext4, an fsync makes the file's own name durable too, and that of a folder what it holds.
type disk struct {
	root   string
	inodes map[uint64]*copied
}

// serve lets every fsync go on after it has noted what it makes durable. After enough acknowledged writes it answers no more: it lays down
// what the disk has, and the file that was just being written, and says so.
func (d *disk) serve(t *testing.T, calls *intercepted, acks <-chan struct{}, out string) {
	acknowledged := 0
	for {
		id, fd, err := calls.next()
		if err != nil {
			t.Errorf("receive a call: %v", err)
			return
		}
		for more := true; more; {
			select {
			case <-acks:
				acknowledged++
			default:
				more = false
			}
		}
		path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			t.Errorf("find the file of an fsync: %v", err)
		}
		if acknowledged >= 300 && strings.HasSuffix(path, ".wal") {
			d.cut(t, path, out)
			return
		}
		if strings.HasPrefix(path, d.root) {
			d.note(t, path)
		}
		if err := calls.goOn(id); err != nil {
			t.Errorf("let a call go on: %v", err)
			return
		}
	}
}

func (d *disk) note(t *testing.T, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // removed meanwhile
	}
	if !info.IsDir() {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("read what is made durable: %v", err)
			return
		}
		d.inodes[inode(info)] = &copied{d.relative(path), content}
		return
	}
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			seen[inode(info)] = true
			if c := d.inodes[inode(info)]; c != nil {
				c.name = d.relative(p)
			}
		}
		return nil
	})
	inside := d.relative(path) + "/"
	for number, c := range d.inodes {
		if strings.HasPrefix(c.name, inside) && !seen[number] {
			delete(d.inodes, number)
		}
	}
}

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func (d *disk) relative(path string) string {
	name, _ := filepath.Rel(d.root, path)
	return name
}

func (d *disk) cut(t *testing.T, path, out string) {
	write := func(name string, content []byte) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Error(err)
		}
	}
	for _, c := range d.inodes {
		write(filepath.Join(out, "disk", c.name), c.content)
	}
	now, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	write(filepath.Join(out, "torn"), now)
	fmt.Printf("cut %s\n", d.relative(path))
}

// intercepted are the calls of fsync and fdatasync of this process, each of which waits until it is told to go on.
type intercepted struct{ fd int }

// interceptSync makes every later fsync of this process wait for goOn.
func interceptSync() (*intercepted, error) {
	const notify = 0x7fc00000 // SECCOMP_RET_USER_NOTIF
	load := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}
	equal := func(number, skip uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jt: uint8(skip)}
	}
	end := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	filter := []unix.SockFilter{load, equal(unix.SYS_FSYNC, 2), equal(unix.SYS_FDATASYNC, 1), end(0x7fff0000), end(notify)}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the thread without new privileges is the one that sets the filter, for itself and all others
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	const setFilter, sync, listener, notTheThread = 1, 1, 1 << 3, 1 << 4
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, sync|listener|notTheThread, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return nil, errno
	}
	return &intercepted{int(fd)}, nil
}

// notification is struct seccomp_notif.
type notification struct {
	id       uint64
	pid      uint32
	flags    uint32
	number   int32
	arch     uint32
	pointer  uint64
	argument [6]uint64
}

// next waits for a call and returns its number and its file.
func (i *intercepted) next() (id uint64, fd int, err error) {
	const receive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	for {
		var n notification
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(i.fd), receive, uintptr(unsafe.Pointer(&n)))
		switch {
		case errno == 0:
			return n.id, int(n.argument[0]), nil
		case errors.Is(errno, unix.EINTR), errors.Is(errno, unix.ENOENT): // the call was interrupted, and will be made again
			continue
		}
		return 0, 0, errno
	}
}

// goOn lets a call be carried out.
func (i *intercepted) goOn(id uint64) error {
	const send, goOn = 0xc0182101, 1 // SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_USER_NOTIF_FLAG_CONTINUE
	response := struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}{id: id, flags: goOn}
	deadline := time.Now().Add(time.Second)
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(i.fd), send, uintptr(unsafe.Pointer(&response)))
		if errno == 0 || errno == unix.ENOENT {
			return nil
		}
		if errno != unix.EINTR || time.Now().After(deadline) {
			return errno
		}
	}
}
