// Package buildkit builds images through the engine's BuildKit API and shows how it goes.
//
// It is a package of its own because BuildKit's client is large. It decides neither what is built nor when. Start with Run.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Dial opens a connection to BuildKit's API.
type Dial func(ctx context.Context) (net.Conn, error)

// Run builds all images at once. Its output, on out, names the service in each step. The first failure ends the other builds.
func Run(ctx context.Context, dial Dial, builds []build.Image, opts build.Options, out io.Writer) error {
	first, err := dial(ctx)
	if err != nil {
		return err // gRPC would try again for a while, and then say that it could not connect
	}
	conns := make(chan net.Conn, 1)
	conns <- first
	c, err := client.New(ctx, "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		select {
		case conn := <-conns:
			return conn, nil
		default:
			return dial(ctx)
		}
	}))
	if err != nil {
		first.Close()
		return fmt.Errorf("connect to the builder: %w", err)
	}
	defer c.Close()
	mode := progressui.DisplayMode(opts.Progress)
	if opts.Quiet {
		mode = progressui.QuietMode
	}
	display, err := progressui.NewDisplay(out, mode)
	if err != nil {
		return errkind.New(errkind.Invalid, "%w", err)
	}
	shown := make(chan *client.SolveStatus)
	displayed := make(chan error, 1)
	go func() {
		// The display ends when its channel is closed, so that what an interrupted build has to say is still shown.
		_, err := display.UpdateFrom(context.WithoutCancel(ctx), shown)
		displayed <- err
	}()
	group, groupCtx := errgroup.WithContext(ctx)
	for _, b := range builds {
		group.Go(func() error { return one(groupCtx, c, b, shown) })
	}
	err = group.Wait()
	close(shown)
	return errors.Join(err, <-displayed)
}

// one builds one image. A step's name gets the service's in front of it.
func one(ctx context.Context, c *client.Client, b build.Image, shown chan<- *client.SolveStatus) error {
	opt, cleanup, err := solveOptions(b)
	if err != nil {
		return err
	}
	defer cleanup()
	status := make(chan *client.SolveStatus)
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for s := range status {
			for _, v := range s.Vertexes {
				v.Name = prefixed(b.Service, v.Name)
			}
			shown <- s
		}
	}()
	_, err = c.Solve(ctx, nil, *opt, status)
	<-passed
	return explain(err, b)
}

func prefixed(service, name string) string {
	switch {
	case service == "":
		return name
	case strings.HasPrefix(name, "["):
		return "[" + service + " " + name[1:]
	}
	return "[" + service + "] " + name
}

// explain says which file and line of it a failed build is about.
func explain(err error, b build.Image) error {
	if err == nil {
		return nil
	}
	where := ""
	for _, src := range errdefs.Sources(err) {
		if src.Info == nil || len(src.Ranges) == 0 {
			continue
		}
		where = fmt.Sprintf("%s:%d: ", absolute(b.Spec.Context, src.Info.Filename), src.Ranges[0].Start.Line)
	}
	service := ""
	if b.Service != "" {
		service = fmt.Sprintf("service %q: ", b.Service)
	}
	text := strings.TrimPrefix(err.Error(), "failed to solve: ")
	if errors.Is(err, context.Canceled) {
		return err
	}
	return errkind.New(errkind.Invalid, "%sfailed to solve: %s%s", service, where, text)
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) || strings.Contains(dir, "://") {
		return path
	}
	return filepath.Join(dir, path)
}

// solveOptions turns a build into what BuildKit's Dockerfile frontend takes. The function returned removes what was written for it.
func solveOptions(b build.Image) (*client.SolveOpt, func(), error) {
	spec := b.Spec
	attrs := map[string]string{"filename": "Dockerfile", "image-resolve-mode": "local"}
	opt := &client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs, LocalMounts: map[string]fsutil.FS{},
		Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": strings.Join(append([]string{b.Ref}, spec.Tags...), ",")}}},
	}
	if b.Pull {
		attrs["image-resolve-mode"] = "pull"
	}
	if b.NoCache {
		attrs["no-cache"] = ""
	}
	if spec.Target != "" {
		attrs["target"] = spec.Target
	}
	for name, value := range spec.Args {
		if value != nil {
			attrs["build-arg:"+name] = *value
		}
	}
	for name, value := range spec.Labels {
		attrs["label:"+name] = value
	}
	if len(spec.Platforms) > 0 {
		attrs["platform"] = strings.Join(spec.Platforms, ",")
	}
	if spec.Network == "host" || spec.Network == "none" {
		attrs["force-network-mode"] = spec.Network
	}
	var hosts []string
	for _, h := range spec.ExtraHosts {
		hosts = append(hosts, h.Name+"="+h.IP)
	}
	if len(hosts) > 0 {
		attrs["add-hosts"] = strings.Join(hosts, ",")
	}
	for _, ref := range spec.CacheFrom {
		if !strings.Contains(ref, "=") {
			opt.CacheImports = append(opt.CacheImports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
		}
	}
	opt.Session = attachables(spec.Secrets)
	cleanup, err := mounts(opt, spec)
	return opt, cleanup, err
}

// mounts gives BuildKit the folders it may read: context, the Dockerfile's, and named contexts.
func mounts(opt *client.SolveOpt, spec *model.Build) (func(), error) {
	cleanup := func() {}
	add := func(name, dir string) error {
		fs, err := fsutil.NewFS(dir)
		if err != nil {
			return errkind.New(errkind.NotFound, "unable to prepare context: path %q not found", dir)
		}
		opt.LocalMounts[name] = fs
		return nil
	}
	remote := strings.Contains(spec.Context, "://") || strings.HasPrefix(spec.Context, "git@")
	if remote {
		opt.FrontendAttrs["context"] = spec.Context
		opt.FrontendAttrs["filename"] = spec.Dockerfile
	} else if err := add("context", spec.Context); err != nil {
		return cleanup, err
	}
	switch file := absolute(spec.Context, spec.Dockerfile); {
	case spec.Inline != "":
		dir, err := os.MkdirTemp("", "cuppa-dockerfile-")
		if err != nil {
			return cleanup, fmt.Errorf("write the inline Dockerfile: %w", err)
		}
		cleanup = func() { _ = os.RemoveAll(dir) } // the system clears its folder for such things anyway
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(spec.Inline), 0o600); err != nil {
			return cleanup, fmt.Errorf("write the inline Dockerfile: %w", err)
		}
		if err := add("dockerfile", dir); err != nil {
			return cleanup, err
		}
	case !remote:
		opt.FrontendAttrs["filename"] = filepath.Base(file)
		if err := add("dockerfile", filepath.Dir(file)); err != nil {
			return cleanup, err
		}
	}
	for name, value := range spec.Contexts {
		if strings.Contains(value, "://") {
			opt.FrontendAttrs["context:"+name] = value
			continue
		}
		opt.FrontendAttrs["context:"+name] = "local:" + name
		if err := add(name, value); err != nil {
			return cleanup, err
		}
	}
	return cleanup, nil
}

// attachables are what a build may ask of the user's side: registry logins and secrets.
func attachables(secrets []model.BuildSecret) []session.Attachable {
	logins := dockerconfig.LoadDefaultConfigFile(io.Discard)
	out := []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(logins)})}
	if len(secrets) > 0 {
		values := map[string][]byte{}
		for _, s := range slices.Backward(secrets) {
			values[s.ID] = s.Content
		}
		out = append(out, secretsprovider.FromMap(values))
	}
	return out
}
