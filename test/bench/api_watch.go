package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How the fan-out is measured.
const (
	watchers         = 1000
	watchConnections = 20
	fanWriters       = 16
	fanUpdates       = 400
	fanSingles       = 10
)

// counter counts the events that all watchers have seen, and tells when so many are there.
type counter struct {
	seen atomic.Int64
	mu   sync.Mutex
	want int64
	full chan struct{}
}

func (c *counter) expect(n int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want, c.full = c.seen.Load()+n, make(chan struct{})
	return c.full
}

func (c *counter) add(n int) {
	now := c.seen.Add(int64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full != nil && now >= c.want {
		close(c.full)
		c.full = nil
	}
}

// fanOut has 1,000 watchers see every update of a few config maps.
func (t *target) fanOut(ctx context.Context, id, kubeconfig string, dial dialer, accept string) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	wide, err := connect(kubeconfig, dial, watchConnections)
	if err != nil {
		return err
	}
	defer wide.close()
	for i := range fanWriters {
		config := configMap(i, "0")
		if _, err := t.CoreV1().ConfigMaps(t.namespace).Create(ctx, config, metav1.CreateOptions{}); err != nil && id == "fanout" {
			return err
		}
	}
	list, err := t.CoreV1().ConfigMaps(t.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps?watch=1&resourceVersion=%s", t.namespace, list.ResourceVersion)
	events := &counter{}
	stop, err := watchAll(ctx, wide, path, accept, events)
	defer stop()
	if err != nil {
		return err
	}
	var singles []time.Duration
	for i := range fanSingles {
		full := events.expect(watchers)
		began := time.Now()
		if err := t.touch(ctx, 0, fmt.Sprint(id, "-single", i)); err != nil {
			return err
		}
		if err := await(ctx, full); err != nil {
			return fmt.Errorf("one write to all watchers: %w", err)
		}
		singles = append(singles, time.Since(began))
	}
	full := events.expect(watchers * fanUpdates)
	began := time.Now()
	// A writer has one object, so that no two of them meet; every value is new, for an update that changes nothing is no event.
	_, err = hammer(ctx, fanWriters, fanWriters, loadTimeout, func(ctx context.Context, writer int) error {
		for i := range fanUpdates / fanWriters {
			if err := t.touch(ctx, writer, fmt.Sprint(id, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := await(ctx, full); err != nil {
		return fmt.Errorf("all events to all watchers: %w", err)
	}
	t.put(id, watchers*fanUpdates/time.Since(began).Seconds(), ms(quantile(singles, 0.5)))
	return nil
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func configMap(n int, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("fan-%d", n), Labels: map[string]string{"app": "bench"}},
		Data:       map[string]string{"value": value, "filling": strings.Repeat("0123456789", 40)},
	}
}

func (t *target) touch(ctx context.Context, n int, value string) error {
	object := configMap(n, value)
	body, err := encode(object, corev1.SchemeGroupVersion, "ConfigMap")
	if err != nil {
		return err
	}
	_, err = t.send(ctx, n, "PUT", "/api/v1/namespaces/"+t.namespace+"/configmaps/"+object.Name, asProtobuf, body)
	return err
}

// watchAll opens all watches and counts their events until stop is called.
func watchAll(ctx context.Context, c *client, path, accept string, events *counter) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	stop = func() { cancel(); group.Wait() }
	var streams [watchers]io.ReadCloser
	_, err = hammer(ctx, loadWorkers, watchers, loadTimeout, func(_ context.Context, i int) (err error) {
		// The stream lives longer than the hammer, so it has the outer context.
		streams[i], err = c.open(ctx, i, "GET", path, accept, nil)
		return err
	})
	for _, stream := range streams {
		if stream == nil {
			continue
		}
		group.Go(func() {
			defer stream.Close()
			if accept == asJSON {
				countLines(stream, events)
				return
			}
			countFrames(stream, events)
		})
	}
	return stop, err
}

// countLines counts the events of a JSON stream, each of which ends with its line.
func countLines(stream io.Reader, events *counter) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := stream.Read(buffer)
		if lines := bytes.Count(buffer[:n], []byte{'\n'}); lines > 0 {
			events.add(lines)
		}
		if err != nil {
			return
		}
	}
}

// countFrames counts the events of a protobuf stream, each of which begins with its length in four bytes.
func countFrames(stream io.Reader, events *counter) {
	buffer := make([]byte, 32<<10)
	var header []byte
	skip := 0
	for {
		n, err := stream.Read(buffer)
		frames := 0
		for left := buffer[:n]; len(left) > 0; {
			if skip > 0 {
				step := min(skip, len(left))
				if left, skip = left[step:], skip-step; skip == 0 {
					frames++
				}
				continue
			}
			step := min(4-len(header), len(left))
			header, left = append(header, left[:step]...), left[step:]
			if len(header) == 4 {
				skip, header = int(binary.BigEndian.Uint32(header)), header[:0]
			}
		}
		if frames > 0 {
			events.add(frames)
		}
		if err != nil {
			return
		}
	}
}

var errWatchEnded = errors.New("the watch ended")
