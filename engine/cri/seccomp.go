package cri

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// seccompFor returns how to make the filter that a profile asks for; nil for none. Saying nothing means the default one.
func (s *Service) seccompFor(sc *runtimeapi.LinuxContainerSecurityContext) func(*specs.Spec) (*specs.LinuxSeccomp, error) {
	p := sc.GetSeccomp()
	switch {
	case p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined:
		return nil
	case p.GetProfileType() == runtimeapi.SecurityProfile_Localhost:
		return func(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
			return loadProfile(s.cfg.SeccompDir, p.LocalhostRef, spec)
		}
	}
	return func(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
		filter, err := seccomp.GetDefaultProfile(spec)
		if err != nil {
			return nil, errkind.New(errkind.Internal, "make default seccomp profile: %w", err)
		}
		return filter, nil
	}
}

func loadProfile(dir, name string, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	path := strings.TrimPrefix(name, "localhost/")
	if !filepath.IsAbs(path) && dir == "" {
		return nil, errkind.New(errkind.Invalid, "seccomp profile %q: this node has no folder for profiles", name)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, filepath.Clean("/"+path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "seccomp profile %q: %w", name, err)
	}
	if !json.Valid(data) {
		return nil, errkind.New(errkind.Invalid, "seccomp profile %q is not JSON", name)
	}
	filter, err := seccomp.LoadProfile(string(data), spec)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "seccomp profile %q: %w", name, err)
	}
	return filter, nil
}
