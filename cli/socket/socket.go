// Package socket speaks to the engine's socket: images, volumes, and the connection that builds go over.
//
// It is a client of the Docker Engine API as far as Cuppa serves it, and knows nothing of containers. Start with Client.
package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Client is one engine. It is safe for many goroutines.
type Client struct {
	path string
	http *http.Client
}

// New makes a client of the socket at a path. It connects when it is used.
func New(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableCompression: true,
	}}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errkind.New(errkind.Denied, "the engine's socket %s may not be used by this user: use sudo", c.path)
	}
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "the engine does not answer at %s: is `cuppa server` running? (%w)", c.path, err)
	}
	return conn, nil
}

// Image is one image of the engine.
type Image struct {
	ID       string `json:"Id"`
	RepoTags []string
	Created  int64
	Size     int64
	Labels   map[string]string
}

// Detail is what an image says about itself.
type Detail struct {
	ID           string `json:"Id"`
	RepoTags     []string
	Created      time.Time
	Size         int64
	Architecture string
	Os           string
	Config       struct {
		Entrypoint   []string
		Cmd          []string
		ExposedPorts map[string]struct{}
		Volumes      map[string]struct{}
		Healthcheck  *struct {
			Test          []string
			Interval      time.Duration
			Timeout       time.Duration
			StartPeriod   time.Duration
			StartInterval time.Duration
			Retries       int
		}
	}
}

// Message is one line of a long operation's answer.
type Message struct {
	Status         string `json:"status"`
	ID             string `json:"id"`
	Stream         string `json:"stream"`
	Error          string `json:"error"`
	ProgressDetail struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// Removed is one row of the answer to a removal.
type Removed struct{ Untagged, Deleted string }

// Ping asks whether the engine is there.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/_ping", nil, nil, nil)
}

// Images lists all images.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var out []Image
	return out, c.call(ctx, http.MethodGet, "/images/json", nil, nil, &out)
}

// Inspect tells about one image.
func (c *Client) Inspect(ctx context.Context, name string) (*Detail, error) {
	var out Detail
	return &out, c.call(ctx, http.MethodGet, "/images/"+name+"/json", nil, nil, &out)
}

// Tag gives an image one more name.
func (c *Client) Tag(ctx context.Context, name, target string) error {
	repo, tag := target, "latest"
	if i := strings.LastIndexByte(target, ':'); i > strings.LastIndexByte(target, '/') {
		repo, tag = target[:i], target[i+1:]
	}
	return c.call(ctx, http.MethodPost, "/images/"+name+"/tag", url.Values{"repo": {repo}, "tag": {tag}}, nil, nil)
}

// Remove removes an image, or one of its names.
func (c *Client) Remove(ctx context.Context, name string, force bool) ([]Removed, error) {
	query := url.Values{}
	if force {
		query.Set("force", "1")
	}
	var out []Removed
	return out, c.call(ctx, http.MethodDelete, "/images/"+name, query, nil, &out)
}

// RemoveVolume removes a named volume. It is no error if there is none.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	err := c.call(ctx, http.MethodDelete, "/volumes/"+name, url.Values{"force": {"1"}}, nil, nil)
	if errors.Is(err, errkind.NotFound) {
		return nil
	}
	return err
}

// Pull fetches an image and tells how it goes.
func (c *Client) Pull(ctx context.Context, ref string, progress func(Message)) error {
	return c.stream(ctx, "/images/create", url.Values{"fromImage": {ref}}, nil, progress)
}

// Load reads images from a tar archive.
func (c *Client) Load(ctx context.Context, archive io.Reader, progress func(Message)) error {
	return c.stream(ctx, "/images/load", nil, archive, progress)
}

// Save opens a tar archive of images.
func (c *Client) Save(ctx context.Context, names []string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/images/get", url.Values{"names": names}, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// DialBuild opens the connection that BuildKit's API is spoken over.
func (c *Client) DialBuild(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	req := "POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
	if _, err := io.WriteString(conn, req); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask for a build connection: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask for a build connection: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, failure(resp)
	}
	return &upgraded{Conn: conn, r: r}, nil
}

// upgraded gives back first what was read ahead with the answer's head.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, failure(resp)
	}
	return resp, nil
}

// failure makes an error of an answer. The engine's text is meant for the user as it is.
func failure(resp *http.Response) error {
	var body struct {
		Message string `json:"message"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body); err != nil || body.Message == "" {
		body.Message = resp.Status
	}
	kind := map[int]error{http.StatusNotFound: errkind.NotFound, http.StatusConflict: errkind.Conflict, http.StatusBadRequest: errkind.Invalid,
		http.StatusForbidden: errkind.Denied, http.StatusServiceUnavailable: errkind.Unavailable}[resp.StatusCode]
	if kind == nil {
		kind = errkind.Internal
	}
	return errkind.New(kind, "%s", body.Message)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body io.Reader, into any) error {
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the engine's answer: %w", err)
	}
	return nil
}

// stream posts and passes on the lines of the answer. A line with an error ends it.
func (c *Client) stream(ctx context.Context, path string, query url.Values, body io.Reader, progress func(Message)) error {
	resp, err := c.do(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var m Message
		if err := lines.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the engine's answer: %w", err)
		}
		if m.Error != "" {
			return errkind.New(errkind.Unavailable, "%s", m.Error)
		}
		progress(m)
	}
}
