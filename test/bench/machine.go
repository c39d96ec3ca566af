package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cleanupTimeout bounds the removal of a machine, which goes on after ^C too.
const cleanupTimeout = time.Minute

// machine is a network namespace without an uplink, and folders for one server.
type machine struct {
	cuppa  string
	dir    string
	netns  string        // path of the namespace
	server *exec.Cmd     // the control plane that this process started, if it did
	ended  chan error    // of that server
	output *bytes.Buffer // of that server
}

// withMachine makes a machine for the time of a function, and removes it with everything on it.
func (b *bench) withMachine(ctx context.Context, do func(context.Context, *machine) error) error {
	dir, err := os.MkdirTemp("", "cuppa-bench-")
	if err != nil {
		return err
	}
	m := &machine{cuppa: b.cuppa, dir: dir}
	name := filepath.Base(dir)
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return fmt.Errorf("make network namespace: %w: %s", err, out)
	}
	m.netns = "/run/netns/" + name
	err = m.inside(func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() })
	if err == nil {
		err = do(ctx, m)
	}
	return errors.Join(err, m.remove(name))
}

func (m *machine) data() string       { return filepath.Join(m.dir, "data") }
func (m *machine) run() string        { return filepath.Join(m.dir, "run") }
func (m *machine) kubeconfig() string { return filepath.Join(m.data(), "admin.kubeconfig") }

// remove ends the server and everything that it runs, and takes the machine away.
func (m *machine) remove(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	errs := []error{m.stopControl()}
	if _, err := os.Stat(m.run()); err == nil {
		if _, err := m.command(ctx, m.dir, "server", "stop", "--all"); err != nil {
			errs = append(errs, err)
		}
	}
	if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("remove network namespace: %w: %s", err, out))
	}
	if errors.Join(errs...) != nil {
		return fmt.Errorf("%w\n(%s is left for you to look at)", errors.Join(errs...), m.dir)
	}
	return os.RemoveAll(m.dir)
}

// inside runs a function on a thread that is in the machine's network. What it starts and connects stays there; goroutines that
// it starts do not.
func (m *machine) inside(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nobody else gets one in the wrong network
		ns, err := os.Open(m.netns)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", m.netns, err)
			return
		}
		done <- do()
	}()
	return <-done
}

// dial connects from inside the machine. The address must be numeric.
func (m *machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.inside(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// command runs cuppa in the machine's network, as a user types it, and returns what it printed.
func (m *machine) command(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := m.prepare(ctx, dir, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.inside(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("cuppa %s: %w\n%s", strings.Join(args, " "), err, lastLines(out.String(), 5))
	}
	return out.String(), nil
}

// timed is how long a whole command takes.
func (m *machine) timed(ctx context.Context, dir string, args ...string) (time.Duration, error) {
	began := time.Now()
	_, err := m.command(ctx, dir, args...)
	return time.Since(began), err
}

func (m *machine) prepare(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.cuppa, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CUPPA_DATA_DIR="+m.data(), "CUPPA_RUN_DIR="+m.run(), "KUBECONFIG="+m.kubeconfig())
	// A process group of its own: ^C reaches this program alone, which then ends everything in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// startControl starts a control plane without a node as a child and returns how long it took until it was ready.
func (m *machine) startControl(ctx context.Context) (time.Duration, error) {
	m.server = m.prepare(context.WithoutCancel(ctx), m.dir, "server", "--no-node", "--log-level", "warn")
	m.output = &bytes.Buffer{}
	m.server.Stdout, m.server.Stderr = m.output, m.output
	began := time.Now()
	if err := m.inside(m.server.Start); err != nil {
		m.server = nil
		return 0, err
	}
	server, ended := m.server, make(chan error, 1)
	m.ended = ended
	go func() { ended <- server.Wait() }()
	// Health is open to everyone, and the authority is not known before the server has made it.
	transport := &http.Transport{DialContext: m.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Second}
	for deadline := began.Add(30 * time.Second); ; {
		answer, err := client.Get("https://127.0.0.1:6443/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
			err = fmt.Errorf("/readyz answers %s", answer.Status)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return 0, fmt.Errorf("the control plane is not ready: %w", err)
		}
		select {
		case err := <-ended:
			m.server = nil
			return 0, fmt.Errorf("the control plane ended: %v\n%s", err, lastLines(m.output.String(), 5))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stopControl ends the control plane that startControl started, if it runs.
func (m *machine) stopControl() error {
	if m.server == nil {
		return nil
	}
	server := m.server
	m.server = nil
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the control plane: %w", err)
	}
	select {
	case <-m.ended:
		return nil
	case <-time.After(cleanupTimeout):
		_ = server.Process.Kill()
		return fmt.Errorf("the control plane (pid %d) did not end; it was killed", server.Process.Pid)
	}
}

// startNode starts a whole node in the background, as a user does, and returns how long it took until it was ready.
func (m *machine) startNode(ctx context.Context) (time.Duration, error) {
	return m.timed(ctx, m.dir, "server", "start")
}

// stopNode ends the node, and forgets its data: the next start is a first one.
func (m *machine) stopNode(ctx context.Context) error {
	if _, err := m.command(ctx, m.dir, "server", "stop", "--all"); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(m.data()), os.RemoveAll(m.run()))
}

// pids are the node's processes: server, supervisor, DNS.
func (m *machine) pids() ([]int, error) {
	raw, err := os.ReadFile(filepath.Join(m.run(), "server.lock"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("read the server's pid: %w", err)
	}
	return append(processes(m.dir), pid), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
