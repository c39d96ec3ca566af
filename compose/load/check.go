package load

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
)

// checker collects what is inconsistent in a project that is well formed.
type checker struct {
	project  *types.Project
	sources  []*source
	problems Problems
}

func (c *checker) add(path []string, format string, args ...any) {
	file, line := place(c.sources, path)
	c.problems = append(c.problems, Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// check holds the project against everything the schema cannot say. compose-go has such a check too, which stops at the first error of a
// random order, and leaves some to the engine.
func check(project *types.Project, sources []*source) Problems {
	c := &checker{project: project, sources: sources}
	if len(project.Name) > 63 {
		c.add([]string{"name"}, "the project name %q is %d characters long; at most 63 are possible, because it is part of host names",
			project.Name, len(project.Name))
	}
	if len(project.Services) == 0 && len(project.DisabledServices) == 0 {
		c.add([]string{"services"}, "no services: the file describes nothing to run")
	}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		s := project.Services[name]
		c.service(name, &s)
		c.references(name, &s)
		c.limits(name, &s)
		c.mounts(name, &s)
	}
	for _, name := range slices.Sorted(maps.Keys(project.Secrets)) {
		s := project.Secrets[name]
		if !bool(s.External) && s.File == "" && s.Environment == "" && s.Content == "" {
			c.add([]string{"secrets", name}, "secret %q must declare either `file` or `environment`", name)
		}
	}
	if len(c.problems) == 0 {
		c.cycles()
		c.ports()
	}
	return c.problems
}

func (c *checker) service(name string, s *types.ServiceConfig) {
	at := func(keys ...string) []string { return append([]string{"services", name}, keys...) }
	if len(name) > 63 {
		c.add(at(), "the service name %q is %d characters long; at most 63 are possible, because it is a host name", name, len(name))
	}
	if s.Build == nil && s.Image == "" {
		c.add(at(), "service %q has neither an image nor a build context specified", name)
	}
	if s.Image != "" {
		if _, err := reference.ParseNormalizedNamed(s.Image); err != nil {
			c.add(at("image"), "service %q: %q is no image name: %v", name, s.Image, err)
		}
	}
	policy, count, _ := strings.Cut(s.Restart, ":")
	if !slices.Contains([]string{"", "no", "always", "unless-stopped", "on-failure"}, policy) || (count != "" && policy != "on-failure") ||
		strings.Trim(count, "0123456789") != "" {
		c.add(at("restart"), "service %q: restart must be \"no\", always, unless-stopped, on-failure or on-failure:N, not %q", name, s.Restart)
	}
	if s.HealthCheck != nil && len(s.HealthCheck.Test) > 0 && !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, s.HealthCheck.Test[0]) {
		c.add(at("healthcheck", "test"), "service %q: healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"", name)
	}
	if s.ContainerName != "" && s.GetScale() > 1 {
		c.add(at("container_name"), "The %q service is using the custom container name %q. Each container must have a unique name. "+
			"Remove the custom name to scale the service.", name, s.ContainerName)
	}
	if s.Hostname != "" && !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`).MatchString(s.Hostname) {
		c.add(at("hostname"), "service %q: %q is no host name: letters, digits and hyphens, at most 63", name, s.Hostname)
	}
	if b := s.Build; b != nil && b.Context != "" && !strings.Contains(b.Context, "://") && !strings.HasPrefix(b.Context, "git@") {
		if info, err := os.Stat(b.Context); err != nil || !info.IsDir() {
			c.add(at("build", "context"), "unable to prepare context: path %q not found (service %q)", b.Context, name)
		} else if file := dockerfile(b); b.DockerfileInline == "" {
			if _, err := os.Stat(file); err != nil {
				c.add(at("build"), "unable to prepare context: Dockerfile %q not found (service %q)", file, name)
			}
		}
	}
}

func dockerfile(b *types.BuildConfig) string {
	file := b.Dockerfile
	if file == "" {
		file = "Dockerfile"
	}
	return absolute(b.Context, file)
}

func (c *checker) references(name string, s *types.ServiceConfig) {
	at := func(keys ...string) []string { return append([]string{"services", name}, keys...) }
	linked := map[string]bool{}
	for _, l := range s.Links {
		target, _, _ := strings.Cut(l, ":")
		linked[target] = true
	}
	for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if _, ok := c.project.Services[dep]; ok {
			continue
		}
		key, verb := "depends_on", "depends on"
		if linked[dep] {
			key, verb = "links", "has a link to"
		}
		if _, disabled := c.project.DisabledServices[dep]; disabled {
			if s.DependsOn[dep].Required {
				c.add(at(key, dep), "Service %q was pulled in as a dependency of service %q but is not enabled by the active profiles. "+
					"You may fix this by adding a common profile to %q and %q.", dep, name, dep, name)
			}
			continue
		}
		near := ""
		if n := Nearest(dep, slices.Collect(maps.Keys(c.project.Services))); n != "" {
			near = fmt.Sprintf(" (did you mean %q?)", n)
		}
		c.add(at(key, dep), "service %q %s undefined service %q%s", name, verb, dep, near)
	}
	if s.NetworkMode != "" && len(s.Networks) > 0 {
		c.add(at("network_mode"), "service %q declares mutually exclusive `network_mode` and `networks`", name)
	}
	for _, n := range slices.Sorted(maps.Keys(s.Networks)) {
		if _, ok := c.project.Networks[n]; !ok {
			c.add(at("networks", n), "service %q refers to undefined network %s", name, n)
		}
	}
	for _, v := range s.Volumes {
		if _, ok := c.project.Volumes[v.Source]; v.Type == types.VolumeTypeVolume && v.Source != "" && !ok {
			c.add(at("volumes"), "service %q refers to undefined volume %s", name, v.Source)
		}
	}
	for _, r := range s.Configs {
		if _, ok := c.project.Configs[r.Source]; !ok {
			c.add(at("configs", r.Source), "service %q refers to undefined config %s", name, r.Source)
		}
	}
	for _, r := range s.Secrets {
		if _, ok := c.project.Secrets[r.Source]; !ok {
			c.add(at("secrets", r.Source), "service %q refers to undefined secret %s", name, r.Source)
		}
	}
}

func (c *checker) limits(name string, s *types.ServiceConfig) {
	at := func(keys ...string) []string { return append([]string{"services", name}, keys...) }
	if s.Scale != nil && *s.Scale < 0 {
		c.add(at("scale"), "services.%s.scale: must be greater than or equal to 0", name)
	}
	if s.Deploy == nil {
		return
	}
	if s.Deploy.Replicas != nil && *s.Deploy.Replicas < 0 {
		c.add(at("deploy", "replicas"), "services.%s.deploy.replicas: must be greater than or equal to 0", name)
	}
	if s.Scale != nil && s.Deploy.Replicas != nil && *s.Scale != *s.Deploy.Replicas {
		c.add(at("scale"), "services.%s: can't set distinct values on 'scale' and 'deploy.replicas'", name)
	}
	limits := s.Deploy.Resources.Limits
	if limits == nil {
		return
	}
	if s.CPUS != 0 && limits.NanoCPUs != 0 && limits.NanoCPUs.Value() != s.CPUS {
		c.add(at("cpus"), "services.%s: can't set distinct values on 'cpus' and 'deploy.resources.limits.cpus'", name)
	}
	if s.MemLimit != 0 && limits.MemoryBytes != 0 && limits.MemoryBytes != s.MemLimit {
		c.add(at("mem_limit"), "services.%s: can't set distinct values on 'mem_limit' and 'deploy.resources.limits.memory'", name)
	}
}

func (c *checker) mounts(name string, s *types.ServiceConfig) {
	taken := map[string]bool{}
	add := func(key, target string) {
		target = filepath.Clean(target)
		if taken[target] {
			c.add([]string{"services", name, key}, "services.%s.%s: something is mounted at %s already", name, key, target)
		}
		taken[target] = true
		if !filepath.IsAbs(target) {
			c.add([]string{"services", name, key}, "services.%s.%s: the mount path %q must be absolute", name, key, target)
		}
	}
	for _, t := range s.Tmpfs {
		path, _, _ := strings.Cut(t, ":")
		add("tmpfs", path)
	}
	for _, v := range s.Volumes {
		add("volumes", v.Target)
		if v.Type == types.VolumeTypeBind && v.Bind != nil && !bool(v.Bind.CreateHostPath) {
			if _, err := os.Stat(v.Source); err != nil {
				c.add([]string{"services", name, "volumes"}, "service %q: bind source path does not exist: %s", name, v.Source)
			}
		}
	}
}

// cycles reports each ring of dependencies once.
func (c *checker) cycles() {
	done := map[string]bool{}
	var stack []string
	var visit func(name string)
	visit = func(name string) {
		if i := slices.Index(stack, name); i >= 0 {
			ring := append(slices.Clone(stack[i:]), name)
			c.add([]string{"services", ring[0], "depends_on"}, "dependency cycle detected: %s", strings.Join(ring, " -> "))
			return
		}
		if done[name] {
			return
		}
		stack = append(stack, name)
		for _, dep := range slices.Sorted(maps.Keys(c.project.Services[name].DependsOn)) {
			visit(dep)
		}
		stack = stack[:len(stack)-1]
		done[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		visit(name)
	}
}

// ports reports two services of one file that publish the same port.
func (c *checker) ports() {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		for _, p := range c.project.Services[name].Ports {
			if p.Published == "" || p.Published == "0" || strings.Contains(p.Published, "-") {
				continue
			}
			key := p.HostIP + "|" + p.Published + "/" + p.Protocol
			if other, taken := owner[key]; taken {
				c.add([]string{"services", name, "ports"}, "service %q: port %s/%s is published by service %q already", name, p.Published, p.Protocol, other)
			}
			owner[key] = name
		}
	}
}
