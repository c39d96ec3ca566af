package app

import (
	"context"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// withProfiles runs a role and meanwhile serves the program's profiles, as `go tool pprof` reads them. They tell what is in memory, so they
// are served to this machine alone. An empty address means no profiles.
func withProfiles(address string, role func() error) error {
	if address == "" {
		return role()
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return errkind.New(errkind.Invalid, "--pprof %q: want a loopback address with a port, as in 127.0.0.1:6060", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return errkind.New(errkind.Precondition, "serve profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		_ = server.Shutdown(context.Background())
		<-ended
	}()
	return role()
}
