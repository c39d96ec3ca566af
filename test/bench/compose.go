package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	buildRuns   = 5
	composeRuns = 5
	// composeTimeout bounds one command.
	composeTimeout = time.Minute
)

const benchDockerfile = "FROM busybox\nCOPY file /file\nRUN cat /file > /copied\n"

// composeGroup measures what a user types.
func composeGroup(ctx context.Context, b *bench) error {
	b.step("version size", func() error { return startOfProgram(ctx, b) })
	return b.withMachine(ctx, func(ctx context.Context, m *machine) error {
		if _, err := m.startNode(ctx); err != nil {
			return err
		}
		b.step("build-cold build-cached", func() error { return m.builds(ctx, b) })
		b.step("up answer up-again ps logs scale down", func() error { return m.dockerCoins(ctx, b) })
		return nil
	})
}

// typed runs a command and adds how long it took to a row's figures.
func (m *machine) typed(ctx context.Context, dir string, into *[]time.Duration, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, composeTimeout)
	defer cancel()
	took, err := m.timed(ctx, dir, args...)
	*into = append(*into, took)
	return err
}

func (m *machine) builds(ctx context.Context, b *bench) error {
	image := filepath.Join(m.dir, "busybox.tar")
	if err := writeBusybox(image); err != nil {
		return err
	}
	if _, err := m.command(ctx, m.dir, "image", "load", "-i", image); err != nil {
		return err
	}
	dir := filepath.Join(m.dir, "build")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(benchDockerfile), 0o644); err != nil {
		return err
	}
	var cold, cached []time.Duration
	for i := range buildRuns + 1 {
		if err := os.WriteFile(filepath.Join(dir, "file"), fmt.Appendf(nil, "run %d\n", i), 0o644); err != nil {
			return err
		}
		for _, into := range []*[]time.Duration{&cold, &cached} {
			if err := m.typed(ctx, dir, into, "image", "build", "-t", "bench", "."); err != nil {
				return err
			}
		}
	}
	// The first build opens the builder, and is not counted.
	b.put("build-cold", medianMax(cold[1:])...)
	b.put("build-cached", medianMax(cached[1:])...)
	return nil
}

// prepareCoins copies the example, builds its programs, and loads redis; then one up builds the images.
func (m *machine) prepareCoins(ctx context.Context, b *bench) (dir string, err error) {
	dir = filepath.Join(m.dir, "dockercoins")
	redis := filepath.Join(m.dir, "redis.tar")
	for _, args := range [][]string{
		{"cp", "-a", filepath.Join(b.root, "examples/dockercoins"), dir},
		{"make", "-s", "-C", dir},
		{filepath.Join(b.root, "scripts/redis-image.sh"), redis},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", args[0], err, lastLines(string(out), 3))
		}
	}
	if _, err := m.command(ctx, m.dir, "image", "load", "-i", redis); err != nil {
		return "", err
	}
	if _, err := m.command(ctx, dir, "up", "-d"); err != nil {
		return "", err
	}
	_, err = m.command(ctx, dir, "down", "-t", "0")
	return dir, err
}

func (m *machine) dockerCoins(ctx context.Context, b *bench) error {
	dir, err := m.prepareCoins(ctx, b)
	if err != nil {
		return err
	}
	var up, answer, again, ps, logs, scale, down []time.Duration
	for range composeRuns {
		began := time.Now()
		err := errors.Join(
			m.typed(ctx, dir, &up, "up", "-d"),
			m.firstPage(ctx, began, &answer),
			m.typed(ctx, dir, &again, "up", "-d"),
			m.typed(ctx, dir, &ps, "ps"),
			m.typed(ctx, dir, &logs, "logs", "--tail", "10"),
			m.typed(ctx, dir, &scale, "up", "-d", "--scale", "worker=10"),
			m.typed(ctx, dir, &down, "down", "-t", "0"))
		if err != nil {
			return err
		}
	}
	for id, all := range map[string][]time.Duration{"up": up, "answer": answer, "up-again": again, "ps": ps, "logs": logs, "scale": scale, "down": down} {
		b.put(id, medianMax(all)...)
	}
	return nil
}

// firstPage asks for the page's figures until they come.
func (m *machine) firstPage(ctx context.Context, began time.Time, into *[]time.Duration) error {
	transport := &http.Transport{DialContext: m.dial, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: time.Second}
	for deadline := time.Now().Add(nodeTimeout); ; {
		answer, err := client.Get("http://127.0.0.1:8000/json")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				*into = append(*into, time.Since(began))
				return nil
			}
			err = errors.New(answer.Status)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the page does not answer: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
