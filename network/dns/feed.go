package dns

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// A server may be a process of its own, so that names resolve while the agent's process is stopped, killed or replaced. Its zone is then fed over a
// unix socket, and kept in a file from which it starts. The protocol is one JSON object a line each way.

// update is one line to the server.
type update struct {
	Reset   bool                `json:"reset,omitempty"`
	Changes map[string]*Service `json:"changes,omitempty"`
	Quit    bool                `json:"quit,omitempty"` // end the process
}

// result is the line back.
type result struct {
	Error string `json:"error,omitempty"`
	Build string `json:"build,omitempty"`
	Pid   int    `json:"pid,omitempty"`
}

// saveAfter lets a burst of changes settle before the file is written.
const saveAfter = 200 * time.Millisecond

// Load fills the zone from a file that Keep wrote. A file that is not there is no error.
func (z *Zone) Load(path string) error {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load DNS zone: %w", err)
	}
	var services map[string]*Service
	if err := json.Unmarshal(data, &services); err != nil {
		return errkind.New(errkind.Invalid, "load DNS zone from %s: %w", path, err)
	}
	return z.Update(services, true)
}

// Keep writes the zone to a file after changes, and once more at the end, until ctx ends.
func (z *Zone) Keep(ctx context.Context, path string, log *slog.Logger) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("keep DNS zone: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-z.changed:
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveAfter):
		}
		if err := z.save(path); err != nil {
			log.Error("keep DNS zone", "path", path, "err", err)
		}
	}
}

func (z *Zone) save(path string) error {
	data, err := json.Marshal(z.Services())
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// feed takes updates of a zone.
type feed struct {
	zone  *Zone
	build string // told to clients
	quit  func() // ends the process
	log   *slog.Logger
}

// ServeFeed takes updates of the zone on a unix socket until ctx ends. A socket that is there already is replaced.
func ServeFeed(ctx context.Context, socket string, z *Zone, log *slog.Logger) error {
	return (&feed{zone: z, quit: func() {}, log: log}).serve(ctx, socket)
}

func (f *feed) serve(ctx context.Context, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return fmt.Errorf("serve DNS feed: %w", err)
	}
	l, err := listenUnix(socket)
	if err != nil {
		return fmt.Errorf("serve DNS feed: %w", err)
	}
	own, err := os.Lstat(socket)
	if err != nil {
		l.Close()
		return fmt.Errorf("serve DNS feed: %w", err)
	}
	defer func() {
		// By now the name may be a successor's.
		if now, err := os.Lstat(socket); err == nil && os.SameFile(own, now) {
			os.Remove(socket)
		}
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve DNS feed: %w", err)
		}
		wg.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			if err := f.take(c); err != nil && ctx.Err() == nil {
				f.log.Error("take DNS update", "err", err)
			}
		})
	}
}

// listenUnix puts the socket in place by rename: a client finds the old one or the new one, never none.
func listenUnix(socket string) (net.Listener, error) {
	tmp := socket + ".new"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, socket)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (f *feed) take(c net.Conn) error {
	in, out := json.NewDecoder(bufio.NewReader(c)), json.NewEncoder(c)
	for in.More() {
		var u update
		if err := in.Decode(&u); err != nil {
			return errors.Join(err, out.Encode(result{Error: err.Error()}))
		}
		var err error
		if len(u.Changes) > 0 || u.Reset {
			err = f.zone.Update(u.Changes, u.Reset)
		}
		if err := out.Encode(result{Error: message(err), Build: f.build, Pid: os.Getpid()}); err != nil {
			return err
		}
		if u.Quit {
			f.quit()
			return nil
		}
	}
	return nil
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Remote is the zone of a server in another process. After an error its state is unknown: the next Update should reset it.
type Remote struct {
	Socket string

	mu   sync.Mutex
	conn net.Conn
}

// Update sends changes to the other process and waits until they are in force.
func (r *Remote) Update(changes map[string]*Service, reset bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.exchange(update{Reset: reset, Changes: changes})
	if err != nil {
		r.close()
		return errkind.New(errkind.Unavailable, "update DNS zone: %w", err)
	}
	return nil
}

func (r *Remote) exchange(u update) error {
	if r.conn == nil {
		if !u.Reset {
			return errors.New("not connected")
		}
		c, err := net.DialTimeout("unix", r.Socket, time.Second)
		if err != nil {
			return err
		}
		r.conn = c
	}
	_, err := tell(r.conn, u)
	return err
}

// tell sends one line and reads the one that answers it.
func tell(c net.Conn, u update) (result, error) {
	var res result
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return res, err
	}
	if err := json.NewEncoder(c).Encode(u); err != nil {
		return res, err
	}
	if err := json.NewDecoder(c).Decode(&res); err != nil {
		return res, err
	}
	if res.Error != "" {
		return res, errors.New(res.Error)
	}
	return res, nil
}

func (r *Remote) close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// Close ends the connection.
func (r *Remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
	return nil
}
