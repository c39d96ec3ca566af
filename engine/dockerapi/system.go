package dockerapi

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/image"
)

func (s *Server) ping(w http.ResponseWriter, r *http.Request, _ string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := io.WriteString(w, "OK")
	return err
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request, _ string) error {
	answer(w, http.StatusOK, map[string]any{
		"Platform":      map[string]string{"Name": "Cuppa"},
		"Components":    []any{map[string]any{"Name": "Engine", "Version": s.cfg.Version, "Details": map[string]string{"ApiVersion": apiVersion, "MinAPIVersion": minAPIVersion}}},
		"Version":       s.cfg.Version,
		"ApiVersion":    apiVersion,
		"MinAPIVersion": minAPIVersion,
		"GoVersion":     runtime.Version(),
		"Os":            runtime.GOOS,
		"Arch":          runtime.GOARCH,
		"KernelVersion": kernel(),
	})
	return nil
}

func (s *Server) info(w http.ResponseWriter, r *http.Request, _ string) error {
	list, err := s.cfg.Images.List(r.Context())
	if err != nil {
		return err
	}
	roots := s.cfg.Images.Roots()
	host, _ := os.Hostname()
	answer(w, http.StatusOK, map[string]any{
		"ID": host, "Name": host, "ServerVersion": s.cfg.Version, "Images": len(list), "Containers": len(roots),
		"Driver": s.cfg.Driver, "DriverStatus": [][]string{}, "DockerRootDir": s.cfg.DataDir,
		"OSType": runtime.GOOS, "Architecture": machine(), "NCPU": runtime.NumCPU(), "KernelVersion": kernel(), "OperatingSystem": osName(),
		"MemTotal": memory(), "IndexServerAddress": "https://index.docker.io/v1/", "Plugins": map[string]any{"Volume": []string{"local"}},
		"RegistryConfig": map[string]any{"InsecureRegistryCIDRs": []string{"127.0.0.0/8", "::1/128"}, "IndexConfigs": map[string]any{}, "Mirrors": []string{}},
	})
	return nil
}

// auth checks a login at a registry, for `docker login`.
func (s *Server) auth(w http.ResponseWriter, r *http.Request, _ string) error {
	var login image.Auth
	if err := decode(w, r, &login); err != nil {
		return err
	}
	if err := s.cfg.Images.Login(r.Context(), login); err != nil {
		if status(err) == http.StatusForbidden {
			answer(w, http.StatusUnauthorized, map[string]string{"message": err.Error()})
			return nil
		}
		return err
	}
	answer(w, http.StatusOK, map[string]string{"Status": "Login Succeeded", "IdentityToken": ""})
	return nil
}

func uname() (u unix.Utsname) {
	_ = unix.Uname(&u) // it fails for a bad pointer only
	return u
}

func kernel() string {
	u := uname()
	return unix.ByteSliceToString(u.Release[:])
}

func machine() string {
	u := uname()
	return unix.ByteSliceToString(u.Machine[:])
}

func memory() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return uint64(si.Totalram) * uint64(si.Unit)
}

func osName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return runtime.GOOS
}
