// Package main measures the budgets of docs/BUDGETS.md: it starts nodes of its own, puts load on them, and prints one table.
//
// It is no test: nothing fails because a figure is bad. Every measurement is bounded in count and time, and everything that was made is
// removed, also after ^C. The load generator of the API speaks to any kubeconfig, so that another API server can be measured with the same
// command. Start with rows, the table of what is measured, then with groups.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// group is a set of measurements that share a node.
type group struct {
	name string
	what string
	run  func(context.Context, *bench) error
}

// groups is the order in which they run.
var groups = []group{
	{"api", "the API server, its controllers and its scheduler, without a node", apiGroup},
	{"node", "one whole node: pods, Services, DNS", nodeGroup},
	{"compose", "builds and DockerCoins through the command line", composeGroup},
}

// bench is what the groups are told and where they put their figures.
type bench struct {
	*results
	cuppa string // the program that is measured
	root  string // of the repository, for the example

	// The api group only.
	kubeconfig string // of another API server; "": a control plane of our own
	namespace  string
	pids       []int // processes of that server, for memory and CPU; of our own they are known
	fakeNodes  bool  // measure scheduling there too, which takes 5,000 Node objects
}

const usage = `usage: go run ./test/bench [flags] [GROUP...]

Measures the budgets of docs/BUDGETS.md and prints them as one table. Without a group, all of them run.
Starts nodes in network namespaces of their own, without an uplink; that needs root. Only "api --kubeconfig" does not.

`

func main() {
	b, chosen, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = b.measure(ctx, chosen)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*bench, []group, error) {
	b := &bench{results: newResults()}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		for _, g := range groups {
			fmt.Fprintf(flags.Output(), "  %-9s %s\n", g.name, g.what)
		}
		fmt.Fprintln(flags.Output())
		flags.PrintDefaults()
	}
	flags.StringVar(&b.cuppa, "cuppa", "bin/cuppa", "the `program` to measure")
	flags.StringVar(&b.root, "root", ".", "the repository's `folder`")
	flags.StringVar(&b.kubeconfig, "kubeconfig", "", "api: measure the server of this `file` instead of one of our own")
	flags.StringVar(&b.namespace, "namespace", "", "api: the `name` of the namespace to make and remove (default bench-PID)")
	pids := flags.String("pids", "", "api: `process ids` of the server (and its store), comma-separated, for memory and CPU")
	only := flags.String("rows", "", "only these rows, by the `ids` of rows.go, comma-separated; some need others before them (list and get need create)")
	flags.BoolVar(&b.fakeNodes, "fake-nodes", false, "api: with --kubeconfig, measure scheduling too; makes and removes 5,000 Nodes")
	// Flags may stand before and after the groups.
	var chosen []group
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return nil, nil, err
		}
		if args = flags.Args(); len(args) > 0 {
			g, err := find(args[0])
			if err != nil {
				return nil, nil, err
			}
			chosen, args = append(chosen, g), args[1:]
		}
	}
	if len(chosen) == 0 {
		chosen = groups
	}
	b.only = words(*only)
	for _, word := range words(*pids) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, nil, fmt.Errorf("--pids: %q is not a process id", word)
		}
		b.pids = append(b.pids, pid)
	}
	if b.namespace == "" {
		b.namespace = fmt.Sprintf("bench-%d", os.Getpid())
	}
	return b, chosen, b.check(chosen)
}

// words splits a list with commas.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func find(name string) (group, error) {
	for _, g := range groups {
		if g.name == name {
			return g, nil
		}
	}
	return group{}, fmt.Errorf("there is no group %q: want api, node or compose", name)
}

// check says before anything is started what is missing.
func (b *bench) check(chosen []group) error {
	if b.kubeconfig != "" {
		if len(chosen) != 1 || chosen[0].name != "api" {
			return errors.New("--kubeconfig measures an API server alone: use it as `api --kubeconfig FILE`")
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("nodes run containers in network namespaces: this needs root (run it with sudo, or measure an API server with `api --kubeconfig FILE`)")
	}
	for _, path := range []*string{&b.cuppa, &b.root} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if _, err := os.Stat(b.cuppa); err != nil {
		return fmt.Errorf("%s is not there: run `make build`, and this in the repository's folder", b.cuppa)
	}
	return nil
}

// measure runs the groups and prints the table, also of a run that was cut short.
func (b *bench) measure(ctx context.Context, chosen []group) error {
	began := time.Now()
	names := map[string]bool{}
	var errs []error
	for _, g := range chosen {
		if ctx.Err() != nil {
			break
		}
		names[g.name] = true
		if err := g.run(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.name, err))
		}
	}
	fmt.Print(b.table(names))
	fmt.Printf("\nMeasured on %s in %.0f s; load average %s.\n", machineName(), time.Since(began).Seconds(), loadAverage())
	if ctx.Err() != nil {
		return errors.New("interrupted: everything was removed, the table is not complete")
	}
	return errors.Join(errs...)
}
