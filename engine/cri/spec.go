package cri

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// specInput is everything that goes into a container's OCI specification.
type specInput struct {
	host      Host
	pod       *sandboxRecord
	id        string
	config    *runtimeapi.ContainerConfig
	image     Image
	extras    extras.Container
	targetPid int // process whose pid namespace to join; 0: by the namespace options
	holderPid int // of the pod's shared pid namespace
	files     podFiles
	devices   []specs.LinuxDevice // found on the host
	seccomp   func(*specs.Spec) (*specs.LinuxSeccomp, error)
}

// podFiles are the paths of the pod's own files on the host.
type podFiles struct{ hostname, resolvConf, hosts string }

// makeSpec is pure: the same input gives the same specification.
func makeSpec(in specInput) (*specs.Spec, error) {
	sc := in.config.GetLinux().GetSecurityContext()
	args, err := commandLine(in.config, in.image, in.extras)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(in.host, sc)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Readonly: sc.GetReadonlyRootfs()},
		Process: &specs.Process{
			Args: args, Env: environment(in), Cwd: workingDir(in), Terminal: in.config.Tty, Capabilities: caps,
			NoNewPrivileges: sc.GetNoNewPrivs(), Rlimits: rlimits(in.extras.Ulimits), User: user(sc),
		},
		Linux: &specs.Linux{
			CgroupsPath: filepath.Join(in.pod.Cgroup, in.id), Namespaces: namespaces(in, sc), Sysctl: sysctls(in.pod),
			MaskedPaths: sc.GetMaskedPaths(), ReadonlyPaths: sc.GetReadonlyPaths(), Devices: in.devices,
		},
		Annotations: map[string]string{"io.kubernetes.cri.container-name": in.config.Metadata.Name},
	}
	if sc.GetPrivileged() {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	}
	spec.Linux.Resources = resources(in, sc)
	if adj := in.config.GetLinux().GetResources().GetOomScoreAdj(); adj != 0 {
		n := int(adj)
		spec.Process.OOMScoreAdj = &n
	}
	if err := mounts(spec, in, sc); err != nil {
		return nil, err
	}
	if p := sc.GetApparmor(); in.host.AppArmor && p.GetProfileType() == runtimeapi.SecurityProfile_Localhost {
		spec.Process.ApparmorProfile = p.LocalhostRef
	}
	if in.seccomp != nil && !sc.GetPrivileged() {
		if spec.Linux.Seccomp, err = in.seccomp(spec); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

// commandLine joins what the pod says and what the image says: a command replaces the image's ENTRYPOINT and CMD,
// arguments alone its CMD.
func commandLine(config *runtimeapi.ContainerConfig, image Image, x extras.Container) ([]string, error) {
	entrypoint, cmd := image.Config.Entrypoint, image.Config.Cmd
	if x.ClearCommand {
		entrypoint = nil
	}
	if x.ClearArgs {
		cmd = nil
	}
	command, args := config.Command, config.Args
	if len(command) == 0 {
		if len(args) == 0 {
			args = cmd
		}
		command = entrypoint
	}
	line := append(slices.Clone(command), args...)
	if len(line) == 0 {
		return nil, errkind.New(errkind.Invalid, "no command specified")
	}
	return line, nil
}

// environment is the image's, changed by the pod's. The first place that names a variable decides its position.
func environment(in specInput) []string {
	var names []string
	values := map[string]string{}
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = value
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	hostname := in.pod.Config.Hostname
	if hostname != "" {
		set("HOSTNAME", hostname)
	}
	if in.config.Tty {
		set("TERM", "xterm")
	}
	for _, pair := range in.image.Config.Env {
		name, value, _ := strings.Cut(pair, "=")
		if !slices.Contains(in.extras.UnsetEnv, name) {
			set(name, value)
		}
	}
	for _, e := range in.config.Envs {
		set(e.Key, string(e.Value))
	}
	env := make([]string, 0, len(names))
	for _, name := range names {
		env = append(env, name+"="+values[name])
	}
	return env
}

func workingDir(in specInput) string {
	switch {
	case in.config.WorkingDir != "":
		return in.config.WorkingDir
	case in.image.Config.WorkingDir != "":
		return in.image.Config.WorkingDir
	}
	return "/"
}

// user holds the groups alone; the rest is looked up in the image when the container starts.
func user(sc *runtimeapi.LinuxContainerSecurityContext) specs.User {
	var u specs.User
	for _, g := range sc.GetSupplementalGroups() {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	return u
}

// userText is what to look up: what the pod says goes before what the image says.
func userText(sc *runtimeapi.LinuxContainerSecurityContext, image Image) (string, error) {
	name := image.Config.User
	switch {
	case sc.GetRunAsUser() != nil:
		name = formatID(sc.RunAsUser.Value)
	case sc.GetRunAsUsername() != "":
		name = sc.RunAsUsername
	}
	if g := sc.GetRunAsGroup(); g != nil {
		if sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "" && image.Config.User == "" {
			name = "0"
		}
		base, _, _ := strings.Cut(name, ":")
		name = base + ":" + formatID(g.Value)
	}
	if name == "" {
		name = "0"
	}
	return name, nil
}

// defaultCapabilities are what a container has when nobody says anything: enough for ordinary servers that begin as root.
func defaultCapabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
}

func capabilities(host Host, sc *runtimeapi.LinuxContainerSecurityContext) (*specs.LinuxCapabilities, error) {
	if sc.GetPrivileged() {
		return &specs.LinuxCapabilities{Bounding: host.Capabilities, Effective: host.Capabilities, Permitted: host.Capabilities}, nil
	}
	set := defaultCapabilities()
	names := func(list []string) ([]string, bool, error) {
		var out []string
		all := false
		for _, name := range list {
			name = strings.ToUpper(name)
			if name == "ALL" || name == "CAP_ALL" {
				all = true
				continue
			}
			if !strings.HasPrefix(name, "CAP_") {
				name = "CAP_" + name
			}
			if !slices.Contains(host.Capabilities, name) {
				return nil, false, errkind.New(errkind.Invalid, "unknown capability %q", name)
			}
			out = append(out, name)
		}
		return out, all, nil
	}
	add, addAll, err := names(sc.GetCapabilities().GetAddCapabilities())
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := names(sc.GetCapabilities().GetDropCapabilities())
	if err != nil {
		return nil, err
	}
	if addAll {
		set = slices.Clone(host.Capabilities)
	}
	if dropAll {
		set = nil
	}
	for _, c := range add {
		if !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(drop, c) })
	out := &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
	ambient, _, err := names(sc.GetCapabilities().GetAddAmbientCapabilities())
	if err != nil {
		return nil, err
	}
	if len(ambient) > 0 {
		out.Ambient, out.Inheritable = ambient, ambient
	}
	return out, nil
}

func namespaces(in specInput, sc *runtimeapi.LinuxContainerSecurityContext) []specs.LinuxNamespace {
	out := append([]specs.LinuxNamespace{{Type: specs.MountNamespace}}, joined(&sandbox{sandboxRecord: *in.pod})...)
	mode := sc.GetNamespaceOptions().GetPid()
	if sc.GetNamespaceOptions() == nil {
		mode = in.pod.namespaceOptions().Pid
	}
	if in.host.Unified && !sc.GetPrivileged() {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace}) // so that /sys/fs/cgroup shows the container's own
	}
	switch {
	case in.targetPid > 0:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: pidNamespace(in.targetPid)})
	case mode == runtimeapi.NamespaceMode_NODE:
	case mode == runtimeapi.NamespaceMode_POD && in.holderPid > 0:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: pidNamespace(in.holderPid)})
	default:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	return out
}

// sysctls are set in the pod's namespaces by each of its containers, to the same values.
func sysctls(pod *sandboxRecord) map[string]string {
	out := map[string]string{}
	for k, v := range pod.Config.GetLinux().GetSysctls() {
		out[strings.ReplaceAll(k, "/", ".")] = v
	}
	if !pod.hostNetwork() {
		// As in other runtimes, any user may bind low ports and ping: the namespace is the pod's own.
		for k, v := range map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"} {
			if _, ok := out[k]; !ok {
				out[k] = v
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func resources(in specInput, sc *runtimeapi.LinuxContainerSecurityContext) *specs.LinuxResources {
	out := in.host.resources(in.config.GetLinux().GetResources())
	addExtras(out, in.extras)
	if sc.GetPrivileged() {
		out.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return out
	}
	out.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, d := range in.devices {
		major, minor := d.Major, d.Minor
		access := "rwm"
		for _, wish := range append(slices.Clone(in.config.Devices), extraDevices(in.extras.Devices)...) {
			if (wish.ContainerPath == d.Path || strings.HasPrefix(d.Path, wish.ContainerPath+"/")) && wish.Permissions != "" {
				access = wish.Permissions
			}
		}
		out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: access})
	}
	return out
}
