package load

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cuppa-project/cuppa/compose/model"
)

// converter turns compose-go's project into ours and notes what had to be left out.
type converter struct {
	in       *types.Project
	warnings []string
}

func (c *converter) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}

func convert(in *types.Project, loc *Location) (*model.Project, []string) {
	c := &converter{in: in}
	out := &model.Project{Name: in.Name, Dir: loc.Dir, Files: loc.Files, Disabled: in.DisabledServiceNames(),
		Volumes: map[string]model.Volume{}, Configs: map[string]model.File{}, Secrets: map[string]model.File{}}
	for key, v := range in.Volumes {
		out.Volumes[key] = model.Volume{Name: v.Name, External: bool(v.External)}
	}
	for key, f := range in.Configs {
		out.Configs[key] = c.file("config", types.FileObjectConfig(f))
	}
	for key, f := range in.Secrets {
		out.Secrets[key] = c.file("secret", types.FileObjectConfig(f))
	}
	joined := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(in.Services)) {
		s := in.Services[name]
		out.Services = append(out.Services, c.service(name, &s))
		if s.NetworkMode == "" {
			joined[strings.Join(slices.Sorted(maps.Keys(s.Networks)), " ")] = true
		}
	}
	if len(joined) > 1 {
		c.warn("networks: the services of a project all reach each other; isolation between its networks is not supported")
	}
	return out, c.warnings
}

func (c *converter) file(what string, f types.FileObjectConfig) model.File {
	out := model.File{Name: f.Name, Content: []byte(f.Content)}
	switch {
	case f.File != "":
		content, err := os.ReadFile(f.File)
		if err != nil {
			c.warn("%s %q: %v; its content is empty", what, f.Name, err)
		}
		out.Content = content
	case f.Environment != "" && f.Content == "":
		out.Content = []byte(c.in.Environment[f.Environment])
	}
	return out
}

func (c *converter) service(name string, s *types.ServiceConfig) model.Service {
	out := model.Service{
		Name: name, Image: s.Image, PullPolicy: s.PullPolicy, Scale: s.GetScale(), Profiles: s.Profiles,
		NoAttach: s.Attach != nil && !*s.Attach, WorkingDir: s.WorkingDir, User: s.User, Groups: s.GroupAdd,
		Env: s.Environment, Labels: s.Labels, Annotations: s.Annotations, ContainerName: s.ContainerName,
		Hostname: s.Hostname, DNS: s.DNS, DNSSearch: s.DNSSearch, DNSOptions: s.DNSOpts,
		ShmSize: int64(s.ShmSize), StopSignal: s.StopSignal, StopGracePeriod: 10 * time.Second,
		Init: s.Init != nil && *s.Init, TTY: s.Tty, StdinOpen: s.StdinOpen,
		CapAdd: s.CapAdd, CapDrop: s.CapDrop, Privileged: s.Privileged, ReadOnly: s.ReadOnly, Sysctls: s.Sysctls,
		HostPID: s.Pid == "host", HostIPC: s.Ipc == "host", NetworkMode: s.NetworkMode,
	}
	if s.StopGracePeriod != nil {
		out.StopGracePeriod = time.Duration(*s.StopGracePeriod)
	}
	if s.Command != nil {
		args := []string(s.Command)
		out.Command = &args
	}
	if s.Entrypoint != nil {
		args := []string(s.Entrypoint)
		out.Entrypoint = &args
	}
	for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if _, enabled := c.in.Services[dep]; enabled {
			d := s.DependsOn[dep]
			out.DependsOn = append(out.DependsOn, model.Dependency{Service: dep, Condition: d.Condition, Required: d.Required})
		}
	}
	out.Build = c.build(s)
	out.Restart = restart(s)
	out.Health = health(s.HealthCheck)
	out.Resources = resources(s)
	c.network(s, &out)
	c.mounts(s, &out)
	c.security(s, &out)
	c.deploy(s, &out)
	return out
}

func (c *converter) build(s *types.ServiceConfig) *model.Build {
	b := s.Build
	if b == nil {
		return nil
	}
	out := &model.Build{Context: b.Context, Dockerfile: b.Dockerfile, Inline: b.DockerfileInline, Target: b.Target, Args: b.Args, Labels: b.Labels,
		Contexts: b.AdditionalContexts, ExtraHosts: hosts(b.ExtraHosts), CacheFrom: b.CacheFrom, Tags: b.Tags, Platforms: b.Platforms,
		Network: b.Network, NoCache: b.NoCache, Pull: b.Pull}
	if out.Dockerfile == "" {
		out.Dockerfile = "Dockerfile"
	}
	for _, ref := range b.Secrets {
		id := ref.Target
		if id == "" {
			id = ref.Source
		}
		if f, ok := c.in.Secrets[ref.Source]; ok {
			out.Secrets = append(out.Secrets, model.BuildSecret{ID: id, Content: c.file("secret", types.FileObjectConfig(f)).Content})
		}
	}
	return out
}

func restart(s *types.ServiceConfig) model.Restart {
	policy, count, _ := strings.Cut(s.Restart, ":")
	retries, _ := strconv.Atoi(count)
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil && s.Restart == "" {
		p := s.Deploy.RestartPolicy
		policy = map[string]string{"none": "no", "on-failure": "on-failure", "any": "always", "": "always"}[p.Condition]
		if p.MaxAttempts != nil {
			retries = int(min(*p.MaxAttempts, math.MaxInt32))
		}
	}
	if policy == "" {
		policy = "no"
	}
	return model.Restart{Policy: policy, MaxRetries: retries}
}

func health(h *types.HealthCheckConfig) *model.Health {
	if h == nil {
		return nil
	}
	out := &model.Health{Disabled: h.Disable, Test: h.Test, Interval: duration(h.Interval), Timeout: duration(h.Timeout),
		StartPeriod: duration(h.StartPeriod), StartInterval: duration(h.StartInterval)}
	if h.Retries != nil {
		out.Retries = *h.Retries
	}
	if len(h.Test) > 0 && h.Test[0] == "NONE" {
		out.Disabled = true
	}
	return out
}

func duration(d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return time.Duration(*d)
}

func (c *converter) network(s *types.ServiceConfig, out *model.Service) {
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, model.Port{HostIP: p.HostIP, Published: p.Published, Target: uint16(p.Target), Protocol: p.Protocol})
	}
	for _, e := range s.Expose {
		if !strings.Contains(e, "/") {
			e += "/tcp"
		}
		out.Expose = append(out.Expose, e)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Networks)) {
		out.Networks = append(out.Networks, name)
		if n := s.Networks[name]; n != nil {
			out.Aliases = append(out.Aliases, n.Aliases...)
		}
	}
	slices.Sort(out.Aliases)
	out.Aliases = slices.Compact(out.Aliases)
	for _, l := range s.Links {
		target, alias, found := strings.Cut(l, ":")
		if !found {
			alias = target
		}
		out.Links = append(out.Links, model.Link{Service: target, Alias: alias})
	}
	out.ExtraHosts = hosts(s.ExtraHosts)
	switch mode := s.NetworkMode; {
	case mode == "" || mode == "bridge" || mode == "default" || mode == "host":
	default:
		c.warn("network_mode %s is not supported and is ignored (%s)", mode, s.Name)
	}
	if s.Pid != "" && s.Pid != "host" {
		c.warn("pid %s is not supported and is ignored (%s)", s.Pid, s.Name)
	}
	if s.Ipc != "" && !slices.Contains([]string{"host", "private", "shareable"}, s.Ipc) {
		c.warn("ipc %s is not supported and is ignored (%s)", s.Ipc, s.Name)
	}
}

func hosts(list types.HostsList) []model.HostName {
	var out []model.HostName
	for _, name := range slices.Sorted(maps.Keys(list)) {
		for _, ip := range list[name] {
			out = append(out, model.HostName{Name: name, IP: ip})
		}
	}
	return out
}

func (c *converter) security(s *types.ServiceConfig, out *model.Service) {
	for _, o := range s.SecurityOpt {
		switch strings.ReplaceAll(o, "=", ":") {
		case "no-new-privileges", "no-new-privileges:true":
			out.NoNewPrivileges = true
		case "seccomp:unconfined":
			out.SeccompUnconfine = true
		case "no-new-privileges:false":
		default:
			c.warn("security_opt %s is not supported and is ignored (%s)", o, s.Name)
		}
	}
	for _, g := range s.GroupAdd {
		if _, err := strconv.ParseInt(g, 10, 64); err != nil {
			c.warn("group_add %s is not supported and is ignored (%s): give the group's number", g, s.Name)
		}
	}
	for _, d := range s.Devices {
		perm := d.Permissions
		if perm == "" {
			perm = "rwm"
		}
		out.Devices = append(out.Devices, d.Source+":"+d.Target+":"+perm)
	}
	for name, u := range s.Ulimits {
		if out.Ulimits == nil {
			out.Ulimits = map[string]model.Ulimit{}
		}
		limit := model.Ulimit{Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			limit = model.Ulimit{Soft: int64(u.Single), Hard: int64(u.Single)}
		}
		out.Ulimits[name] = limit
	}
}

func (c *converter) deploy(s *types.ServiceConfig, out *model.Service) {
	d := s.Deploy
	if d == nil {
		return
	}
	if d.Mode != "" && d.Mode != "replicated" {
		c.warn("deploy.mode %s is not supported: the service is treated as replicated (%s)", d.Mode, s.Name)
	}
	for _, constraint := range d.Placement.Constraints {
		key, value, ok := strings.Cut(strings.ReplaceAll(constraint, " ", ""), "==")
		label, isLabel := strings.CutPrefix(key, "node.labels.")
		switch {
		case ok && isLabel:
		case ok && key == "node.hostname":
			label = "kubernetes.io/hostname"
		default:
			c.warn("deploy.placement.constraints %q is not supported and is ignored (%s)", constraint, s.Name)
			continue
		}
		if out.NodeLabel == nil {
			out.NodeLabel = map[string]string{}
		}
		out.NodeLabel[label] = value
	}
	if u := d.UpdateConfig; u != nil {
		out.Update = &model.Update{Parallelism: 1, Delay: time.Duration(u.Delay), Monitor: time.Duration(u.Monitor),
			StartFirst: u.Order == "start-first", FailureAction: u.FailureAction}
		if u.Parallelism != nil {
			out.Update.Parallelism = *u.Parallelism
		}
	}
}

func resources(s *types.ServiceConfig) model.Resources {
	out := model.Resources{CPULimit: milli(s.CPUS), MemoryLimit: int64(s.MemLimit), MemoryReservation: int64(s.MemReservation),
		Pids: s.PidsLimit, CPUShares: s.CPUShares, CPUSet: s.CPUSet, MemorySwap: int64(s.MemSwapLimit), OOMScoreAdj: s.OomScoreAdj}
	if s.MemSwappiness != 0 {
		n := uint64(s.MemSwappiness)
		out.Swappiness = &n
	}
	if s.Deploy == nil {
		return out
	}
	if l := s.Deploy.Resources.Limits; l != nil {
		if l.NanoCPUs != 0 {
			out.CPULimit = milli(l.NanoCPUs.Value())
		}
		if l.MemoryBytes != 0 {
			out.MemoryLimit = int64(l.MemoryBytes)
		}
		if l.Pids != 0 {
			out.Pids = l.Pids
		}
	}
	if r := s.Deploy.Resources.Reservations; r != nil {
		if r.NanoCPUs != 0 {
			out.CPUReservation = milli(r.NanoCPUs.Value())
		}
		if r.MemoryBytes != 0 {
			out.MemoryReservation = int64(r.MemoryBytes)
		}
	}
	return out
}

func milli(cpus float32) int64 { return int64(math.Round(float64(cpus) * 1000)) }
