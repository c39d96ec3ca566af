// Package main runs Kubernetes' own conformance suite against nodes of this tree and writes docs/CONFORMANCE.md.
//
// It builds the suite and the programs of its images from their published modules, makes the images from those and from Debian's packages,
// starts nodes in network namespaces without an uplink, and removes everything afterwards, also after ^C. What the suite is built of is
// pinned by the module in upstream/, which the product never sees. It is no test of the main module: `go test` runs only what is pure,
// report/. Start with steps, then programs and images, the tables of what is made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
)

// conformance is what one run is told.
type conformance struct {
	root   string // of the repository
	cache  string // where programs, images and the last run's logs are kept
	cuppa  string // the program under test
	focus  string // only cases whose text matches; "": all
	skip   string // but not those whose text matches
	procs  int    // cases at once, of those that may run beside others
	limit  time.Duration
	make   bool // stop once programs and images are made
	report string
}

const usage = `usage: go run ./test/conformance [flags]

Runs Kubernetes' conformance suite against a node of bin/cuppa and writes docs/CONFORMANCE.md. Needs root.
The programs and images that it makes the first time take up to half an hour and 3 GB.

`

func main() {
	c, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = c.run(ctx)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*conformance, error) {
	c := &conformance{}
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.root, "root", ".", "the repository's `folder`")
	flags.StringVar(&c.cache, "cache", os.Getenv("CUPPA_CONFORMANCE_CACHE"), "`folder` for what is built (default $CUPPA_CONFORMANCE_CACHE, or .cache/conformance)")
	flags.StringVar(&c.focus, "focus", "", "only cases whose text matches this `expression`, for example '\\[sig-node\\]'")
	flags.StringVar(&c.skip, "skip", "", "leave out cases whose text matches this `expression`")
	flags.IntVar(&c.procs, "procs", 12, "how many cases run at once; those marked Serial run alone")
	flags.DurationVar(&c.limit, "limit", 90*time.Minute, "how long the cases may take, each of the two parts")
	flags.BoolVar(&c.make, "make", false, "make the programs and images, and run nothing")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q: this takes flags only", flags.Arg(0))
	}
	return c, c.check()
}

// check says before anything is started what is missing.
func (c *conformance) check() error {
	if os.Geteuid() != 0 {
		return errors.New("nodes run containers in network namespaces: this needs root (run it with sudo)")
	}
	for name, expression := range map[string]string{"--focus": c.focus, "--skip": c.skip} {
		if _, err := regexp.Compile(expression); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.procs < 1 {
		return fmt.Errorf("--procs: %d cases at once is no number to run", c.procs)
	}
	root, err := filepath.Abs(c.root)
	if err != nil {
		return err
	}
	c.root, c.cuppa = root, filepath.Join(root, "bin", "cuppa")
	c.report = filepath.Join(root, "docs", "CONFORMANCE.md")
	if _, err := os.Stat(c.cuppa); err != nil {
		return fmt.Errorf("%s is not there: run `make build`, and this in the repository's folder", c.cuppa)
	}
	if c.cache == "" {
		c.cache = filepath.Join(root, ".cache", "conformance")
	}
	c.cache, err = filepath.Abs(c.cache)
	return err
}

// whole says whether every case was to run.
func (c *conformance) whole() bool { return c.focus == "" && c.skip == "" }

// run goes through all steps. What was made once is kept in the cache and not made again.
func (c *conformance) run(ctx context.Context) error {
	began := time.Now()
	if err := os.MkdirAll(filepath.Join(c.cache, "bin"), 0o755); err != nil {
		return err
	}
	if err := c.buildPrograms(ctx); err != nil {
		return err
	}
	if err := c.makeDebian(ctx); err != nil {
		return err
	}
	if err := c.keepProgram(); err != nil {
		return err
	}
	return c.withCluster(ctx, func(ctx context.Context, nodes *cluster) error {
		if err := c.loadImages(ctx, nodes); err != nil {
			return err
		}
		if c.make {
			return nil
		}
		return c.runSuite(ctx, nodes, began)
	})
}

// keepProgram tests a copy of the program: whoever works on meanwhile builds it anew, and what is reported is to be what was tested.
func (c *conformance) keepProgram() error {
	kept := filepath.Join(c.cache, "bin", "cuppa")
	content, err := os.ReadFile(c.cuppa)
	if err == nil {
		err = atomicfile.Write(kept, content, 0o755)
	}
	if err != nil {
		return fmt.Errorf("keep the program under test: %w", err)
	}
	c.cuppa = kept
	return nil
}

// say tells what is going on.
func say(format string, args ...any) { fmt.Printf("conformance: "+format+"\n", args...) }
