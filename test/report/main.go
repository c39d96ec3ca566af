// Command report runs go test and says at the end what was not tested: every skip, counted by its reason.
//
// Without -v, go test prints "ok" for a package whose tests were all skipped. This program prints what go test prints (a line for each
// package, and failures whole), then a table of the skips. It judges nothing: its exit code is that of go test. Start with main; the
// events of go test -json are taken in by report.go.
//
// usage: report [VARIABLE=VALUE ...] [go test flags and packages] [-- another run ...]
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := newReport(os.Stdout)
	code := 0
	for _, run := range runs(os.Args[1:]) {
		if c := run.test(ctx, r); c != 0 && code == 0 {
			code = c
		}
	}
	r.skips()
	if code != 0 {
		fmt.Println("FAIL")
	}
	stop()
	os.Exit(code)
}

// testRun is one call of go test.
type testRun struct{ env, args []string }

var variable = regexp.MustCompile(`^[A-Z_]+=`)

// runs splits the command line: each part begins with its environment.
func runs(words []string) []testRun {
	var all []testRun
	for {
		end := slices.Index(words, "--")
		part := words
		if end >= 0 {
			part = words[:end]
		}
		first := 0
		for first < len(part) && variable.MatchString(part[first]) {
			first++
		}
		all = append(all, testRun{env: part[:first], args: part[first:]})
		if end < 0 {
			return all
		}
		words = words[end+1:]
	}
}

// arguments puts -json where go test takes it: -C must be the first flag.
func (r testRun) arguments() []string {
	if len(r.args) > 1 && r.args[0] == "-C" {
		return append([]string{"test", "-C", r.args[1], "-json"}, r.args[2:]...)
	}
	return append([]string{"test", "-json"}, r.args...)
}

// test runs go test to its end and returns its exit code.
func (r testRun) test(ctx context.Context, report *report) int {
	cmd := exec.CommandContext(ctx, "go", r.arguments()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		return 2
	}
	if err := report.read(out); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		cmd.Process.Kill()
		cmd.Wait()
		return 2
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		return 2
	}
	return max(cmd.ProcessState.ExitCode(), 0)
}
