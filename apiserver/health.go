package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/version"

	"github.com/cuppa-project/cuppa/apiserver/codec"
)

// The Kubernetes version whose API this server speaks.
const (
	major      = "1"
	minor      = "37"
	gitVersion = "v1.37.2+cuppa"
)

// Version is what /version says.
func Version() version.Info {
	return version.Info{
		Major: major, Minor: minor, GitVersion: gitVersion, GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

func serveVersion(w http.ResponseWriter) { writeDocument(w, Version()) }

func writeDocument(w http.ResponseWriter, document any) {
	body, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", codec.JSON.MediaType())
	_, _ = w.Write(body) // a client that has gone away is nobody's fault
}

// servePaths lists where to look next.
func (s *Server) servePaths(w http.ResponseWriter) {
	paths := []string{"/api", "/api/v1", "/apis"}
	for _, gv := range s.registry.Current().GroupVersions() {
		if gv.Group != "" {
			paths = append(paths, "/apis/"+gv.Group, "/apis/"+gv.String())
		}
	}
	for _, check := range s.checks {
		paths = append(paths, "/healthz/"+check.name, "/livez/"+check.name, "/readyz/"+check.name)
	}
	paths = append(paths, "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/openapi/v3", "/version")
	slices.Sort(paths)
	writeDocument(w, map[string]any{"paths": slices.Compact(paths)})
}

// check is one thing that must be well. live says that it counts for /livez too: what a restart could mend.
type check struct {
	name string
	live bool
	ok   func() error
}

func (s *Server) health() []check {
	return []check{
		{"ping", true, func() error { return nil }},
		{"etcd", false, func() error { return closed(s.cache.Ready(), "the store has not been read yet") }},
		{"informer-sync", false, func() error { return closed(s.loaded, "the cache is not loaded yet") }},
		{"poststarthook/start-system-namespaces-controller", false, func() error { return closed(s.ready, "the system's namespaces do not exist yet") }},
		{"shutdown", false, func() error {
			if closed(s.stopping, "") == nil {
				return fmt.Errorf("the server is stopping")
			}
			return nil
		}},
	}
}

func closed(ch <-chan struct{}, otherwise string) error {
	select {
	case <-ch:
		return nil
	default:
		return fmt.Errorf("%s", otherwise)
	}
}

// serveHealth answers /livez, /readyz and /healthz, alone, verbose, with exclusions, or one check below them.
func (s *Server) serveHealth(w http.ResponseWriter, req *http.Request, t target) {
	kind := t.parts[0]
	only := strings.Join(t.parts[1:], "/")
	excluded := req.URL.Query()["exclude"]
	var lines strings.Builder
	failed, seen := false, only == ""
	for _, check := range s.checks {
		if (kind == "livez" && !check.live) || (only != "" && only != check.name) {
			continue
		}
		seen = true
		if slices.Contains(excluded, check.name) {
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", check.name)
			continue
		}
		if err := check.ok(); err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", check.name, err)
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", check.name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, verbose := req.URL.Query()["verbose"]
	switch {
	case !seen:
		http.NotFound(w, req)
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), kind)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), kind)
	default:
		fmt.Fprint(w, "ok")
	}
}
