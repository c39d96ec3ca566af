package cri

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// extras are the wishes that CRI has no fields for and annotations carry.
type extras struct {
	init       bool
	ulimits    []specs.POSIXRlimit
	pidsLimit  int64
	devices    []*runtimeapi.Device
	fill       map[string]bool
	stopSignal string
	user       string // names, for the image's passwd and group files
	shmSize    int64
	emptyCmd   bool // the image's ENTRYPOINT does not count
	emptyArgs  bool // the image's CMD does not count
	unsetEnv   []string
	resources  json.RawMessage
}

// annotation finds a wish for a container: its own, the pod's for it, the pod's for all.
func annotation(config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig, key string) (string, bool) {
	if v, ok := config.Annotations[key]; ok {
		return v, true
	}
	if v, ok := pod.Annotations[key+"."+config.Metadata.Name]; ok {
		return v, true
	}
	v, ok := pod.Annotations[key]
	return v, ok
}

func readExtras(config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (extras, error) {
	var x extras
	read := func(key string, parse func(string) error) error {
		text, ok := annotation(config, pod, key)
		if !ok || text == "" {
			return nil
		}
		if err := parse(text); err != nil {
			return errkind.New(errkind.Invalid, "annotation %s of container %q: %w", key, config.Metadata.Name, err)
		}
		return nil
	}
	for _, field := range []struct {
		key   string
		parse func(string) error
	}{
		{api.AnnotationInit, func(t string) (err error) { x.init, err = strconv.ParseBool(t); return }},
		{api.AnnotationUlimits, func(t string) (err error) { x.ulimits, err = parseUlimits(t); return }},
		{api.AnnotationPidsLimit, func(t string) (err error) { x.pidsLimit, err = strconv.ParseInt(t, 10, 64); return }},
		{api.AnnotationDevices, func(t string) (err error) { x.devices, err = parseDevices(t); return }},
		{api.AnnotationVolumeFill, func(t string) error { return json.Unmarshal([]byte(t), &x.fill) }},
		{api.AnnotationStopSignal, func(t string) error { x.stopSignal = t; _, err := parseSignal(t); return err }},
		{api.AnnotationUser, func(t string) error { x.user = t; return nil }},
		{api.AnnotationShmSize, func(t string) (err error) { x.shmSize, err = strconv.ParseInt(t, 10, 64); return }},
		{api.AnnotationEmptyArgs, x.parseEmpty},
		{api.AnnotationUnsetEnv, func(t string) error { return json.Unmarshal([]byte(t), &x.unsetEnv) }},
		{api.AnnotationCgroupExtra, func(t string) error {
			x.resources = json.RawMessage(t)
			return json.Unmarshal([]byte(t), &specs.LinuxResources{})
		}},
	} {
		if err := read(field.key, field.parse); err != nil {
			return x, err
		}
	}
	return x, nil
}

func (x *extras) parseEmpty(text string) error {
	x.emptyCmd = text == "command" || text == "both"
	x.emptyArgs = text == "args" || text == "both"
	if !x.emptyCmd && !x.emptyArgs {
		return errkind.New(errkind.Invalid, "%q is none of command, args, both", text)
	}
	return nil
}

func sizeAnnotation(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 0
}

// parseUlimits reads {"nofile":{"soft":1024,"hard":2048}}; -1 is no limit.
func parseUlimits(text string) ([]specs.POSIXRlimit, error) {
	var raw map[string]struct{ Soft, Hard int64 }
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, err
	}
	var out []specs.POSIXRlimit
	for name, l := range raw {
		if !slices.Contains([]string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
			"rss", "rtprio", "rttime", "sigpending", "stack"}, name) {
			return nil, errkind.New(errkind.Invalid, "ulimit %q is not known", name)
		}
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(l.Soft), Hard: uint64(l.Hard)})
	}
	slices.SortFunc(out, func(a, b specs.POSIXRlimit) int { return strings.Compare(a.Type, b.Type) })
	return out, nil
}

// parseDevices reads ["/dev/fuse:/dev/fuse:rwm"]; the second and third part may be missing.
func parseDevices(text string) ([]*runtimeapi.Device, error) {
	var raw []string
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, err
	}
	var out []*runtimeapi.Device
	for _, d := range raw {
		host, rest, _ := strings.Cut(d, ":")
		inside, access, _ := strings.Cut(rest, ":")
		if inside == "" {
			inside = host
		}
		if access == "" {
			access = "rwm"
		}
		out = append(out, &runtimeapi.Device{HostPath: host, ContainerPath: inside, Permissions: access})
	}
	return out, nil
}

// parseSignal reads "SIGTERM", "TERM", "15" or "SIGRTMIN+3".
func parseSignal(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int(n), nil
	}
	for base, first := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			continue
		}
		offset := 0
		if rest != "" {
			var err error
			if offset, err = strconv.Atoi(rest); err != nil {
				break
			}
		}
		if n := first + offset; n >= 34 && n <= 64 {
			return n, nil
		}
	}
	return 0, errkind.New(errkind.Invalid, "signal %q is not known", text)
}
