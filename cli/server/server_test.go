package server

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/cuppa-project/cuppa/internal/instance"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestMain makes this binary a server of a kind, if it is told so: it takes its run directory, says that it is ready, and ends when it is asked to.
func TestMain(m *testing.M) {
	dir := os.Getenv("TEST_RUN_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	lock, err := instance.Take(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("time=1 level=WARN msg=" + strings.Join(os.Args[1:], ","))
	NotifyReady()
	<-stop
	lock.Release()
}

// terminal types commands and writes down what came of them.
type terminal struct {
	t    *testing.T
	data string
	run  string
	out  strings.Builder
}

func (m *terminal) typed(args ...string) {
	m.t.Helper()
	data, run := "/var/lib/x", m.run
	var out bytes.Buffer
	show := func(what string) func(context.Context, Options, []string) error {
		return func(_ context.Context, o Options, args []string) error {
			fmt.Fprintf(&out, "%s as %s, options %+v\n", what, strings.Join(args, " "), o)
			return nil
		}
	}
	cmd := Command(Config{DataDir: &data, RunDir: &run, Serve: show("serves"), Clean: show("cleans"), Launch: func(args []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
		child := exec.Command(os.Args[0], args...)
		prepare(child)
		child.Env = append(child.Env, "TEST_RUN_DIR="+m.run)
		return child, child.Start()
	}})
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	fmt.Fprintf(&m.out, "$ cuppa server %s\n", strings.Join(args, " "))
	if err := cmd.ExecuteContext(m.t.Context()); err != nil {
		fmt.Fprintln(&out, err)
	}
	text := regexp.MustCompile(`pid \d+`).ReplaceAllString(strings.ReplaceAll(out.String(), m.run, "RUN"), "pid N")
	m.out.WriteString(regexp.MustCompile(`\d+\.\d s\b`).ReplaceAllString(text, "T s"))
}

// TestCommands is a life of a server in the background, and what its flags come to.
func TestCommands(t *testing.T) {
	m := &terminal{t: t, run: filepath.Join(t.TempDir(), "run")}
	t.Cleanup(func() { _ = instance.Stop(context.WithoutCancel(t.Context()), m.run) })
	m.typed("status")
	m.typed("stop")
	m.typed("start", "--no-node", "--etcd-servers=http://a,http://b")
	m.typed("start", "--no-node")
	m.typed("status")
	m.typed("stop")
	m.typed("status")
	m.typed("stop", "--all", "--node-name=n1")
	m.typed("--no-node", "--listen=:7443")
	m.typed("--data-dir=/elsewhere", "--log-level=debug")
	m.typed("begin")
	testkit.Golden(t, "commands.txt", m.out.String())
}
