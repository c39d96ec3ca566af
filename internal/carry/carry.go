// Package carry starts a program that another carries inside itself, compressed.
//
// The program is unpacked once and kept, under its digest, in a folder that nobody else can write; every later start finds it there. Where no
// such folder can be had (a file system that is read only or full, a user without a home) it is started from sealed memory instead. It knows
// nothing of what the program is. Start with Program.Open; store.go is the folder, memory.go the memory, pack the other end: what a build runs.
package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Program is a program as it is carried: two files that the pack command wrote, NAME.zst and NAME.json.
type Program struct {
	Name  string // of the two files
	Shown string // what lists of processes call it
	Files fs.FS
	// Dirs are the folders in which it may be kept, the best first. The first that is safe is used.
	Dirs []string
}

// Facts is what NAME.json says about a program.
type Facts struct {
	Sum  string `json:"sum"`  // SHA-256 of the unpacked program, in hexadecimal digits
	Size int64  `json:"size"` // unpacked, in bytes
}

// Opened is a program that can be started.
type Opened struct {
	Path string // of a file in the store, or of memory
	file *os.File
}

// Close gives up the memory, if it is that. What has been started goes on.
func (o *Opened) Close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}

// Open makes sure of the unpacked program. Many may do so at once. Whoever wants to start it should be quick: the folder is cleared of a
// program when one of another build is unpacked.
func (p Program) Open() (*Opened, error) {
	facts, err := p.Facts()
	if err != nil {
		return nil, err
	}
	var reasons []error
	for _, dir := range p.Dirs {
		s := store{dir: filepath.Join(dir, p.Name), name: p.Shown, facts: facts}
		path, err := s.find(p.unpack)
		if err == nil {
			return &Opened{Path: path}, nil
		}
		reasons = append(reasons, err)
	}
	file, err := sealed(p.Shown, p.unpack)
	if err != nil {
		return nil, errors.Join(append(reasons, err)...)
	}
	return &Opened{Path: fmt.Sprintf("/proc/self/fd/%d", file.Fd()), file: file}, nil
}

// Exec becomes the program. It returns only when that fails.
func (p Program) Exec(argv, env []string) error {
	return p.start(func(o *Opened) error {
		return syscall.Exec(o.Path, argv, env)
	})
}

// Start starts the program as a child. The command made gets its path here; its arguments begin with argv's first, as everywhere.
func (p Program) Start(ctx context.Context, argv []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
	var cmd *exec.Cmd
	err := p.start(func(o *Opened) error {
		path := o.Path
		if o.file != nil {
			// In the child, "self" is the child, which does not have the descriptor.
			path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), o.file.Fd())
		}
		cmd = exec.CommandContext(ctx, path)
		cmd.Args = argv
		prepare(cmd)
		return cmd.Start()
	})
	return cmd, err
}

// start opens and starts, once more if the program was cleared away in between.
func (p Program) start(with func(*Opened) error) error {
	for try := 0; ; try++ {
		o, err := p.Open()
		if err != nil {
			return err
		}
		err = with(o)
		o.Close()
		if try == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		return nil
	}
}

// Facts reads what was noted about the program when it was packed.
func (p Program) Facts() (Facts, error) {
	raw, err := fs.ReadFile(p.Files, p.Name+".json")
	if errors.Is(err, fs.ErrNotExist) {
		return Facts{}, errkind.New(errkind.Precondition, "this program was built without its part %q: build with make", p.Name)
	}
	if err != nil {
		return Facts{}, err
	}
	return parseFacts(raw)
}

// unpack writes the unpacked program.
func (p Program) unpack(to io.Writer) error {
	packed, err := p.Files.Open(p.Name + ".zst")
	if err != nil {
		return err
	}
	defer packed.Close()
	from, err := zstd.NewReader(packed)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, from)
	return err
}

// Build shortens a digest to what tells builds apart.
func (f Facts) Build() string { return f.Sum[:16] }

func (f Facts) validate() error {
	if len(f.Sum) != 64 || strings.Trim(f.Sum, "0123456789abcdef") != "" || f.Size <= 0 {
		return errkind.New(errkind.Internal, "the note about a packed program is damaged: %+v", f)
	}
	return nil
}
