package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/test/conformance/report"
)

// part is a share of the cases that runs in one go.
type part struct {
	name   string
	labels string // ginkgo's filter
	alone  bool
}

// parts is the order in which they run.
var parts = []part{
	{"side by side", "Conformance && !Serial", false},
	{"one by one", "Conformance && Serial", true},
}

// progressEvery is how often a line says how far the cases are.
const progressEvery = 30 * time.Second

// runSuite runs the cases and writes down what came of them, also of a run that was cut short.
func (c *conformance) runSuite(ctx context.Context, nodes *cluster, began time.Time) error {
	out := filepath.Join(c.cache, "last")
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	defer nodes.keepLogs(out)
	var cases []report.Case
	var errs []error
	for i, p := range parts {
		if ctx.Err() != nil {
			break
		}
		found, err := c.runPart(ctx, nodes.nodes[0], p, filepath.Join(out, fmt.Sprint(i)))
		errs = append(errs, err)
		cases = together(cases, found)
	}
	if len(cases) == 0 {
		return errors.Join(append(errs, ctx.Err())...)
	}
	return errors.Join(append(errs, c.write(ctx, cases, began, len(nodes.nodes)))...)
}

// together joins what the parts found: a case that one of them left out is as the other says.
func together(a, b []report.Case) []report.Case {
	if len(a) == 0 {
		return b
	}
	return report.Merge(a, b, false)
}

func (c *conformance) runPart(ctx context.Context, n *node, p part, out string) ([]report.Case, error) {
	if err := os.MkdirAll(filepath.Join(out, "bin"), 0o755); err != nil {
		return nil, err
	}
	// The suite types kubectl too; it is the one inside the program.
	kubectl := filepath.Join(out, "bin", "kubectl")
	if err := os.Symlink(c.cuppa, kubectl); err != nil {
		return nil, err
	}
	procs := c.procs
	if p.alone {
		procs = 1
	}
	say("running cases %s (%d at once; log in %s)", p.name, procs, filepath.Join(out, "log"))
	log, err := os.Create(filepath.Join(out, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := []string{c.bin("ginkgo"), "--procs", fmt.Sprint(procs), "--label-filter", p.labels, "--focus", c.focus, "--skip", c.skip, "--no-color",
		"--timeout", c.limit.String(), "--poll-progress-after", "1h", "--output-dir", out, "--json-report", "report.json", c.bin("e2e.test"), "--",
		"--provider=skeleton", "--kubeconfig=" + n.kubeconfig(), "--kubectl-path=" + kubectl, "--allowed-not-ready-nodes=-1",
		"--system-pods-startup-timeout=5s", "--node-schedulable-timeout=20s"}
	t := n.inside(ctx, args...)
	t.Env = append(t.Env, "KUBE_CONTAINER_RUNTIME=remote")
	t.Dir = out
	t.Stdout, t.Stderr = log, log
	stop := progress(ctx, log.Name())
	err = t.do()
	stop()
	// That cases fail is a result; that there is no report is a fault.
	raw, missing := os.Open(filepath.Join(out, "report.json"))
	if missing != nil {
		return nil, fmt.Errorf("run the suite: %w; see %s", errors.Join(err, missing), log.Name())
	}
	defer raw.Close()
	return report.Read(raw, report.Causes(), ctx.Err() != nil)
}

// progress says now and then how many cases have passed and failed so far, as the suite's log shows them.
func progress(ctx context.Context, log string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		last := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			raw, err := os.ReadFile(log)
			if err != nil {
				return
			}
			if now := soFar(raw); now != last {
				say("%s", now)
				last = now
			}
		}
	}()
	return func() { cancel(); <-done }
}

func soFar(log []byte) string {
	return fmt.Sprintf("so far %d passed, %d failed", bytes.Count(log, []byte("•"))-bytes.Count(log, []byte("• [FAILED]")), bytes.Count(log, []byte("• [FAILED]")))
}

// write brings the document up to date.
func (c *conformance) write(ctx context.Context, ran []report.Case, began time.Time, nodes int) error {
	var runs report.Runs
	var before []report.Case
	old, err := os.ReadFile(c.report)
	if err == nil {
		runs, before, err = report.Parse(string(old))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %s: %w", c.report, err)
	}
	// A whole run that was cut short is a part.
	whole := c.whole() && ctx.Err() == nil
	line := describe(ran, began, nodes, c.version())
	if whole {
		runs = report.Runs{Whole: line}
	} else {
		runs.Part = fmt.Sprintf("%s; %s", c.selection(), line)
	}
	cases := report.Merge(before, ran, whole)
	if err := os.WriteFile(c.report, []byte(report.Document(runs, cases)), 0o644); err != nil {
		return err
	}
	for _, f := range ran {
		if f.State == report.Failed {
			fmt.Printf("failed: [%s] %s\n    %s\n", f.Area, f.Name, f.Why)
		}
	}
	say("%s; see %s", line, c.report)
	return nil
}

func (c *conformance) selection() string {
	var words []string
	if c.focus != "" {
		words = append(words, "FOCUS=`"+c.focus+"`")
	}
	if c.skip != "" {
		words = append(words, "SKIP=`"+c.skip+"`")
	}
	if len(words) == 0 {
		return "cut short"
	}
	return strings.Join(words, " ")
}

// describe is one run in a line.
func describe(ran []report.Case, began time.Time, nodes int, version string) string {
	counts := report.Counts(ran)
	all := counts[len(counts)-1]
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d passed, %d failed on %s, %s, Cuppa %s, %d node(s), Linux %s, %d cores", all.Passed, all.Failed,
		began.UTC().Format(time.DateOnly), time.Since(began).Round(time.Minute), version, nodes, strings.TrimSpace(string(kernel)), runtime.NumCPU())
}

// version is what the program under test calls itself.
func (c *conformance) version() string {
	out, err := exec.Command(c.cuppa, "version", "--short").Output()
	if err != nil {
		return "of an unknown version"
	}
	return strings.TrimSpace(string(out))
}

// keepLogs saves the servers' logs from the removal that follows.
func (c *cluster) keepLogs(out string) {
	for _, n := range c.nodes {
		raw, err := os.ReadFile(filepath.Join(n.run(), "server.log"))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, n.name+".log"), raw, 0o644)
		}
		if err != nil {
			say("the log of %s is lost: %v", n.name, err)
		}
	}
}
