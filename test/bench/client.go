package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Media types of the requests.
const (
	asProtobuf      = "application/vnd.kubernetes.protobuf"
	asProtobufWatch = asProtobuf + ";stream=watch"
	asJSON          = "application/json"
)

// connections is over how many HTTP/2 connections load is spread.
const connections = 8

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// client puts load on an API server: raw requests over several connections, so that decoding answers does not compete with the server for
// the machine's cores; and a clientset without limits for everything else.
type client struct {
	*kubernetes.Clientset
	host string
	conn []*http.Client
}

// connect opens as many HTTP/2 connections as asked for to the server of a kubeconfig. A nil dialer means the network of this process.
func connect(kubeconfig string, dial dialer, connections int) (*client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no limit
	config.ContentType = asProtobuf
	c := &client{host: strings.TrimSuffix(config.Host, "/")}
	for range connections {
		http, err := newConnection(config, dial)
		if err != nil {
			return nil, err
		}
		c.conn = append(c.conn, http)
	}
	if c.Clientset, err = kubernetes.NewForConfigAndClient(config, c.conn[0]); err != nil {
		return nil, err
	}
	return c, nil
}

func newConnection(config *rest.Config, dial dialer) (*http.Client, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPWrappersForConfig(config, &http.Transport{TLSClientConfig: tls, DialContext: dial, ForceAttemptHTTP2: true,
		DisableCompression: true})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: transport}, nil
}

func (c *client) close() {
	for _, conn := range c.conn {
		conn.CloseIdleConnections()
	}
}

// open sends a request over one of the connections and returns the answer's body.
func (c *client) open(ctx context.Context, n int, method, path, accept string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	if body != nil {
		request.Header.Set("Content-Type", asProtobuf)
	}
	answer, err := c.conn[n%len(c.conn)].Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 500))
		return nil, fmt.Errorf("%s %s: %s: %q", method, path, answer.Status, text)
	}
	return answer.Body, nil
}

// send is open for those who want only to know that it went well, and how many bytes came back.
func (c *client) send(ctx context.Context, n int, method, path, accept string, body []byte) (int64, error) {
	answer, err := c.open(ctx, n, method, path, accept, body)
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	return io.Copy(io.Discard, answer)
}

// encode writes an object as protobuf.
func encode(object runtime.Object, version schema.GroupVersion, kind string) ([]byte, error) {
	object.GetObjectKind().SetGroupVersionKind(version.WithKind(kind))
	var out bytes.Buffer
	err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &out)
	return out.Bytes(), err
}

// burst is what many workers did together.
type burst struct {
	each    []time.Duration
	elapsed time.Duration
}

func (b burst) rate() float64 { return float64(len(b.each)) / b.elapsed.Seconds() }

// hammer does something count times by so many workers, and gives up at the first fault or after a time.
func hammer(ctx context.Context, workers, count int, within time.Duration, do func(ctx context.Context, i int) error) (burst, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not done after %s", within))
	defer cancel()
	each := make([]time.Duration, count)
	var next atomic.Int64
	var once sync.Once
	var first error
	var group sync.WaitGroup
	began := time.Now()
	for range workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= count || ctx.Err() != nil {
					return
				}
				start := time.Now()
				if err := do(ctx, i); err != nil {
					once.Do(func() { first = err })
					cancel()
					return
				}
				each[i] = time.Since(start)
			}
		})
	}
	group.Wait()
	if first == nil && int(next.Load()) < count {
		first = context.Cause(ctx)
	}
	if first != nil && errors.Is(first, context.Canceled) && context.Cause(ctx) != nil {
		first = errors.Join(first, context.Cause(ctx))
	}
	return burst{each, time.Since(began)}, first
}
