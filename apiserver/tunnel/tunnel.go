// Package tunnel carries the streams of pods and nodes (logs, exec, attach, port-forward, proxy) between a client and the kubelet
// of the pod's node, and requests to programs inside pods (proxy) to those themselves.
//
// It looks at the first request only: a connection that is upgraded, to SPDY or to a WebSocket, is passed through byte by
// byte, and the kubelet speaks both. Who may do it was decided before. Start with Tunnel.Serve and the table in streams.go.
package tunnel

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// Config says how nodes are reached.
type Config struct {
	// TLS carries the client certificate for kubelets and whose server certificates are believed. Required.
	TLS *tls.Config
	// Dial reaches a node's address; nil: the network as it is.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Endpoints lists the EndpointSlices of a Service, for the proxy to its pods; nil: there are none.
	Endpoints func(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error)
	// Stopping ends the streams when closed; nil: never.
	Stopping <-chan struct{}
	Logger   *slog.Logger
}

// Tunnel carries streams.
type Tunnel struct {
	config    Config
	lookup    rest.Lookup
	transport *http.Transport // to kubelets
	direct    *http.Transport // to pods
}

// New returns a tunnel. It keeps a few idle connections to kubelets for a minute.
func New(config Config, lookup rest.Lookup) *Tunnel {
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	transport := func(config *tls.Config) *http.Transport {
		return &http.Transport{
			DialContext: dial, TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second,
			IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
			// An upgrade needs a connection of its own, which HTTP/2 does not have.
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		}
	}
	return &Tunnel{
		config: config, lookup: lookup, transport: transport(config.TLS.Clone()),
		// Nobody vouches for the certificates of programs in pods, and none of them is shown ours.
		direct: transport(&tls.Config{InsecureSkipVerify: true}),
	}
}

// CloseIdle lets go of the connections that are kept for the next stream.
func (t *Tunnel) CloseIdle() {
	t.transport.CloseIdleConnections()
	t.direct.CloseIdleConnections()
}

// Serve carries one stream. The call has been authorised.
func (t *Tunnel) Serve(w http.ResponseWriter, req *http.Request, c *rest.Call) {
	found, ok := streams()[c.Sub.Stream]
	if !ok {
		rest.WriteError(w, req, apierrors.NewMethodNotSupported(c.Kind.GVR().GroupResource(), c.Sub.Name))
		return
	}
	where, err := found.locate(t, req, c)
	if err != nil {
		rest.WriteError(w, req, err)
		return
	}
	if where == nil { // there is nothing to read from yet
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	if t.config.Stopping != nil {
		go func() {
			select {
			case <-t.config.Stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	if found.direct {
		t.serveDirect(w, req.WithContext(ctx), where)
		return
	}
	if found.text && websocket.IsWebSocketUpgrade(req) {
		t.serveWebSocket(w, req.WithContext(ctx), where)
		return
	}
	t.proxy(where).ServeHTTP(w, req.WithContext(ctx))
}

func (t *Tunnel) proxy(where *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     t.transport,
		FlushInterval: -1, // a log line is worth a packet
		ErrorLog:      slog.NewLogLogger(t.config.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = where
			p.Out.Host = where.Host
			p.Out.Header.Del("Authorization")
		},
		ModifyResponse: explain,
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			if req.Context().Err() != nil {
				return // the client went away or the server stops
			}
			rest.WriteError(w, req, apierrors.NewInternalError(fmt.Errorf("error dialing backend: %w", err)))
		},
	}
}

// errorLimit is how much of a kubelet's refusal is passed on.
const errorLimit = 50000

// explain turns a kubelet's plain refusal into the Status that clients of the API expect.
func explain(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest || strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, errorLimit))
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // it has been read
	body, err := rest.EncodeError(refusal(resp, strings.TrimSpace(string(text))))
	if err != nil {
		return err
	}
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return nil
}

// refusal is what a client is told of a kubelet's answer that is none.
func refusal(resp *http.Response, message string) error {
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(message)
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(fmt.Errorf("%s", message))
	default:
		return apierrors.NewGenericServerResponse(resp.StatusCode, resp.Request.Method, schema.GroupResource{}, "", message, 0, true)
	}
}

// node finds where a node's kubelet listens.
func (t *Tunnel) node(ctx context.Context, name string) (*url.URL, error) {
	found, err := t.lookup.Live(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), "", name)
	if err != nil {
		return nil, err
	}
	node := found.(*corev1.Node)
	address := ""
	for _, wanted := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeInternalDNS, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == wanted && address == "" {
				address = a.Address
			}
		}
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if address == "" || port == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %q has not said where its kubelet listens", name))
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(address, strconv.Itoa(int(port)))}, nil
}
