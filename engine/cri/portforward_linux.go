package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// PortForwardStream joins a stream to a TCP port on the loopback address in a pod's network namespace, until either side has closed.
func (s *Service) PortForwardStream(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	b, err := s.findSandbox(sandboxID)
	if err != nil {
		return err
	}
	if port <= 0 || port > 65535 {
		return errkind.New(errkind.Invalid, "port %d is out of range", port)
	}
	s.mu.Lock()
	state, netns := b.State, b.Addresses.NetNSPath
	s.mu.Unlock()
	if state != sandboxReady {
		return errkind.New(errkind.Precondition, "pod sandbox %s is not ready", sandboxID)
	}
	conn, err := dialIn(ctx, netns, port)
	if err != nil {
		return errkind.New(errkind.Unavailable, "forward to port %d of pod %s/%s: %w", port, b.Config.Metadata.Namespace,
			b.Config.Metadata.Name, err)
	}
	return join(ctx, conn, stream)
}

// dialIn connects from inside a network namespace: to IPv4's loopback, else IPv6's.
func dialIn(ctx context.Context, netns string, port int32) (net.Conn, error) {
	var dialer net.Dialer
	dialer.Timeout = 10 * time.Second
	connect := func() (net.Conn, error) {
		var errs []error
		for _, host := range []string{"127.0.0.1", "::1"} {
			conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errs[0]
	}
	if netns == "" {
		return connect()
	}
	ns, err := os.Open(netns)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- result{err: fmt.Errorf("remember network namespace: %w", err)}
			return
		}
		defer home.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{err: fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		// The thread comes back: a thread that stays locked ends with its goroutine, but for the process's first, which would stay in the
		// pod's network, and keep that alive, for as long as the process lives.
		defer func() {
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}()
		conn, err := connect()
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// join copies both ways until both have ended; each end is passed on.
func join(ctx context.Context, conn net.Conn, stream io.ReadWriteCloser) error {
	var once sync.Once
	closeBoth := func() {
		once.Do(func() {
			conn.Close()
			stream.Close()
		})
	}
	defer closeBoth()
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	toClient := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, conn)
		toClient <- err
	}()
	toPod := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
		toPod <- err
	}()
	// The pod's end is the end: a client that has said all it wants may still be waiting for the answer.
	err := <-toClient
	closeBoth()
	<-toPod
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("forward port: %w", err)
	}
	return nil
}
