package tunnel

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// The protocols by which text may be read over a WebSocket. Without any, it is as if the first were named.
const (
	protocolBinary = "binary.k8s.io"        // messages of bytes
	protocolBase64 = "base64.binary.k8s.io" // messages of text, each on its own in base64
)

// Limits of such a connection.
const (
	messageLength = 2 << 10
	writeWithin   = time.Minute
	goodbyeWithin = time.Second
)

// serveWebSocket reads what a kubelet answers to a plain request, and passes it on as messages: how a browser reads logs. The first message is
// empty, as upstream's is, so that a client knows at once that it may read. What the client sends is thrown away.
func (t *Tunnel) serveWebSocket(w http.ResponseWriter, req *http.Request, where *url.URL) {
	offered := websocket.Subprotocols(req)
	if len(offered) > 0 && !slices.Contains(offered, protocolBinary) && !slices.Contains(offered, protocolBase64) {
		rest.WriteError(w, req, apierrors.NewBadRequest(fmt.Sprintf("none of the WebSocket protocols %s is served here; offer %s or %s",
			strings.Join(offered, ", "), protocolBinary, protocolBase64)))
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	answer, err := t.read(ctx, where)
	if err != nil {
		rest.WriteError(w, req, err)
		return
	}
	defer answer.Close()
	upgrader := websocket.Upgrader{Subprotocols: []string{protocolBinary, protocolBase64}, WriteBufferSize: 2 * messageLength,
		CheckOrigin: func(*http.Request) bool { return true }} // whoever asks has shown who it is, in a way that browsers do not do for strangers
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return // the client has been told
	}
	defer conn.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer cancel() // ends the kubelet's answer too
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	}()
	pass(conn, answer)
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(goodbyeWithin))
	_ = conn.SetReadDeadline(time.Now().Add(goodbyeWithin))
	<-gone
}

// read asks a kubelet. The error is one to tell the client; the answer is to be closed by the caller.
func (t *Tunnel) read(ctx context.Context, where *url.URL) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.transport.RoundTrip(req)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("error dialing backend: %w", err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, errorLimit))
	return nil, errors.Join(refusal(resp, strings.TrimSpace(string(text))), err)
}

// pass sends what it reads, each piece as it comes, until either side ends.
func pass(conn *websocket.Conn, from io.Reader) {
	send := func(data []byte) error {
		_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
		if conn.Subprotocol() == protocolBase64 {
			return conn.WriteMessage(websocket.TextMessage, []byte(base64.StdEncoding.EncodeToString(data)))
		}
		return conn.WriteMessage(websocket.BinaryMessage, data)
	}
	if send(nil) != nil {
		return
	}
	buffer := make([]byte, messageLength)
	for {
		n, err := from.Read(buffer)
		if n > 0 && send(buffer[:n]) != nil || err != nil {
			return
		}
	}
}
