package build

import (
	"context"
	"fmt"
	"maps"
	"regexp"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/worker"
)

// dockerfile is the built-in Dockerfile frontend.
func dockerfile(infos worker.Infos) frontend.Frontend {
	return localFirst{forwarder.NewGatewayForwarder(infos, buildDockerfile)}
}

// localFirst makes FROM take an image that is in the store without asking its registry, unless the build says otherwise (--pull).
type localFirst struct{ frontend.Frontend }

func (f localFirst) Solve(ctx context.Context, bridge frontend.FrontendLLBBridge, exec executor.Executor, opts map[string]string, inputs map[string]*pb.Definition, sid string, sm *session.Manager) (*frontend.Result, error) {
	const key = "image-resolve-mode"
	if mode := opts[key]; mode == "" || mode == "default" {
		opts = maps.Clone(opts)
		if opts == nil {
			opts = map[string]string{}
		}
		opts[key] = "local"
	}
	return f.Frontend.Solve(ctx, bridge, exec, opts, inputs, sid, sm)
}

// buildDockerfile is BuildKit's builder, but for the line "# syntax=docker/dockerfile:...": that would fetch a program as an image and
// run it to read the Dockerfile. The built-in one reads every version of that language.
func buildDockerfile(ctx context.Context, c client.Client) (*client.Result, error) {
	return builder.Build(ctx, builtinSyntax{c})
}

type builtinSyntax struct{ client.Client }

// Solve catches the request that would run the frontend image.
func (b builtinSyntax) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend != "gateway.v0" {
		return b.Client.Solve(ctx, req)
	}
	source := req.FrontendOpt["source"]
	if ok, _ := regexp.MatchString(`^(docker\.io/)?docker/dockerfile(-upstream)?([:@].*)?$`, source); !ok {
		return nil, fmt.Errorf("the Dockerfile asks for the language %q: only docker/dockerfile is supported", source)
	}
	return builder.Build(ctx, withCmdline{b.Client, req.FrontendOpt["cmdline"]})
}

// withCmdline marks a build as one whose syntax line has been seen to.
type withCmdline struct {
	client.Client
	cmdline string
}

func (w withCmdline) BuildOpts() client.BuildOpts {
	opts := w.Client.BuildOpts()
	opts.Opts = maps.Clone(opts.Opts)
	opts.Opts["cmdline"] = w.cmdline
	return opts
}
