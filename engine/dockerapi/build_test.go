package dockerapi

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

// TestBuildOverTheDoor builds as a client of docker's API does: BuildKit's control API over POST /grpc.
func TestBuildOverTheDoor(t *testing.T) {
	e, socket := door(t)
	c, err := client.New(t.Context(), "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return upgrade(ctx, socket, "/grpc", nil)
	}), client.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		return upgrade(ctx, socket, "/session", meta)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY word /\nLABEL made=here\n", "word": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan *client.SolveStatus)
	go func() {
		for range status {
		}
	}()
	resp, err := c.Solve(t.Context(), nil, client.SolveOpt{
		Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports: []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": "docker.io/library/app"}}},
	}, status)
	if err != nil {
		t.Fatal(err)
	}
	img, err := e.Images.Inspect(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.Config.Labels["made"] != "here" || resp.ExporterResponse["containerimage.config.digest"] != img.ID.String() {
		t.Errorf("built %v, stored %+v", resp.ExporterResponse, img)
	}
}

// upgrade opens a connection to the door and asks for another protocol on it.
func upgrade(ctx context.Context, socket, path string, meta map[string][]string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range meta {
		req.Header[k] = v
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "h2c")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%s answered %s", path, resp.Status)
	}
	return &buffered{Conn: conn, r: r}, nil
}
