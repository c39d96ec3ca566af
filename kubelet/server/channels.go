package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// The channels of exec and attach over WebSocket: the first byte of every message. In protocol v5 a message on channelClose ends the
// channel that its second byte names, which is how a client says that its stdin is at its end.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelStatus = 3
	channelResize = 4
	channelClose  = 255
)

// Limits of WebSocket connections.
const (
	pingEvery    = 30 * time.Second
	pongWithin   = 2 * time.Minute
	writeWithin  = time.Minute
	maxMessage   = 4 << 20
	bufferLength = 32 << 10
	stdinQueue   = 64 // messages of input that may wait for the command
)

func channelProtocols() []string {
	return []string{remotecommand.StreamProtocolV5Name, remotecommand.StreamProtocolV4Name}
}

func speaksChannels(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && slices.ContainsFunc(websocket.Subprotocols(r), func(p string) bool {
		return slices.Contains(channelProtocols(), p)
	})
}

func upgrade(w http.ResponseWriter, r *http.Request, protocols []string) (*websocket.Conn, error) {
	upgrader := websocket.Upgrader{
		Subprotocols: protocols, ReadBufferSize: bufferLength, WriteBufferSize: bufferLength,
		CheckOrigin: func(*http.Request) bool { return true }, // clients show a certificate, browsers do not get here
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrade to websocket: %w", err)
	}
	conn.SetReadLimit(maxMessage)
	return conn, nil
}

// channels is one connection.
type channels struct {
	conn   *websocket.Conn
	mu     sync.Mutex  // writers take turns
	stdin  chan []byte // input on its way to the command; nil: none is wanted
	resize chan TerminalSize
	cancel context.CancelFunc
}

// serveChannels carries one exec or attach over WebSocket.
func serveChannels(w http.ResponseWriter, r *http.Request, opts *remotecommand.Options, run session) {
	conn, err := upgrade(w, r, channelProtocols())
	if err != nil {
		return // the client has been told
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := &channels{conn: conn, resize: make(chan TerminalSize, 1), cancel: cancel}
	var stdin io.Reader
	hangUp := func() {}
	if opts.Stdin {
		reader, writer := io.Pipe()
		c.stdin, stdin = make(chan []byte, stdinQueue), reader
		hangUp = func() { _ = reader.Close() } // whoever still writes is let go
		go c.feed(c.stdin, writer)
	}
	var stdout, stderr io.Writer
	if opts.Stdout {
		stdout = channelWriter{c, channelStdout}
	}
	if opts.Stderr {
		stderr = channelWriter{c, channelStderr}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read(ctx)
	}()
	go c.ping(ctx)
	code, err := run(ctx, opts.TTY, stdin, stdout, stderr, c.resize)
	_ = c.write(channelStatus, outcome(code, err))
	hangUp()
	c.close()
	cancel()
	_ = conn.Close()
	<-done
}

// outcome is the last message of a session.
func outcome(code int, err error) []byte {
	status := metav1.Status{Status: metav1.StatusSuccess}
	switch {
	case err != nil:
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
			Message: "Internal error occurred: error executing command in container: " + err.Error(),
		}
	case code != 0:
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: command terminated with exit code %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}}},
		}
	}
	data, err := json.Marshal(status)
	if err != nil {
		return nil
	}
	return data
}

func (c *channels) write(channel byte, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	w, err := c.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{channel}); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

// close says good-bye and waits a moment for the client's, so that nothing that was sent is lost.
func (c *channels) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second))
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
}

func (c *channels) ping(ctx context.Context) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
		}
	}
}

// read takes the client's messages until it goes away, which ends the session.
func (c *channels) read(ctx context.Context) {
	defer c.cancel()
	defer close(c.resize)
	defer c.endStdin()
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWithin))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWithin)) })
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if ctx.Err() == nil {
			_ = c.conn.SetReadDeadline(time.Now().Add(pongWithin))
		}
		if len(data) == 0 {
			continue
		}
		c.take(ctx, data[0], data[1:])
	}
}

// endStdin says that no more input comes. It is called by the reader only, and may be called again.
func (c *channels) endStdin() {
	if c.stdin != nil {
		close(c.stdin)
		c.stdin = nil
	}
}

// feed hands input on. It stands between the reader and the command, so that a command which is slow to read does not hold back
// the messages behind its input, such as a new size of the terminal.
func (c *channels) feed(queue <-chan []byte, to *io.PipeWriter) {
	defer to.Close()
	for data := range queue {
		if _, err := to.Write(data); err != nil {
			return // a command that does not read its input any more is no failure
		}
	}
}

func (c *channels) take(ctx context.Context, channel byte, data []byte) {
	switch channel {
	case channelStdin:
		if c.stdin == nil || len(data) == 0 {
			return
		}
		select {
		case c.stdin <- data:
		case <-ctx.Done():
		}
	case channelClose:
		if len(data) == 1 && data[0] == channelStdin {
			c.endStdin()
		}
	case channelResize:
		var size struct{ Width, Height uint16 }
		if json.Unmarshal(data, &size) != nil {
			return
		}
		select {
		case c.resize <- size:
		case <-ctx.Done():
		}
	}
}

type channelWriter struct {
	channels *channels
	channel  byte
}

func (w channelWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.channels.write(w.channel, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func isNil(v any) bool {
	value := reflect.ValueOf(v)
	return value.Kind() == reflect.Pointer && value.IsNil()
}
