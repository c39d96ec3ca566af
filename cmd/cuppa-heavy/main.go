// Command cuppa-heavy is all of cuppa that is slow to start: the server with its node and builder, kubectl, builds, and the machinery of JSON
// schemas. People never start it: cuppa carries it, and starts it with a word of cli/heavy.
//
// Start with roles, the table of what it can be.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/build/buildkit"
	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/cli/kubectl"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/cli/verdict/decide"
)

// version is set by the linker.
var version = "unknown"

// role is one thing that the program can be.
type role struct {
	word string // its first argument, or its name
	run  func(ctx context.Context, args []string) error
}

func roles() []role {
	return []role{
		{heavy.Server, serve},
		{heavy.Kubectl, runKubectl},
		{heavy.Build, answerBuild},
		{heavy.Verdict, answerVerdict},
	}
}

func main() {
	// Started from memory, lists of processes would call it by the number of a descriptor.
	_ = os.WriteFile("/proc/self/comm", []byte("cuppa"), 0) // it runs as well under another name
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args); {
	case errors.Is(err, context.Canceled):
		os.Exit(130) // as the front program ends that is interrupted
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	words := args[1:]
	if filepath.Base(args[0]) == heavy.Kubectl {
		words = append([]string{heavy.Kubectl}, words...)
	}
	if len(words) > 0 {
		for _, r := range roles() {
			if r.word == words[0] {
				return r.run(ctx, words[1:])
			}
		}
	}
	return fmt.Errorf("%s is a part of cuppa, and is started by it", args[0])
}

// runKubectl ends the program with kubectl's code.
func runKubectl(_ context.Context, args []string) error {
	os.Exit(kubectl.Run(append([]string{"kubectl"}, args...), kubectl.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	return nil
}

func answerBuild(ctx context.Context, _ []string) error {
	return heavy.Answer(ctx, func(ctx context.Context, q build.Question) heavy.Fault {
		return heavy.FaultOf(buildkit.Run(ctx, socket.New(q.Socket).DialBuild, q.Images, q.Options, os.Stdout))
	})
}

func answerVerdict(ctx context.Context, _ []string) error { return heavy.Answer(ctx, decide.Answer) }
