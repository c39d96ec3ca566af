package plan

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/compose/model"
)

// template makes the pod template of a service.
func (b *builder) template(s *model.Service, image Image) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector(b.project.Name, s.Name), Annotations: map[string]string{
		annotationHash:         s.Hash(b.project),
		api.AnnotationNumbered: "true",
	}}}
	if image.ID != "" {
		t.Annotations[annotationImageID] = image.ID
	}
	if s.ContainerName != "" {
		t.Annotations[AnnotationContainerName] = s.ContainerName
	}
	for _, name := range b.sharedNames(s.Name) {
		t.Labels[nameLabel(name)] = "true"
	}
	userLabels(s, &t)
	spec := &t.Spec
	spec.EnableServiceLinks = new(false)
	spec.AutomountServiceAccountToken = new(false)
	spec.TerminationGracePeriodSeconds = new(int64(seconds(s.StopGracePeriod)))
	spec.Hostname = strings.ToLower(s.Hostname)
	spec.HostAliases = b.hostAliases(s)
	spec.DNSConfig = dns(s)
	spec.HostPID, spec.HostIPC = s.HostPID, s.HostIPC
	spec.NodeSelector = s.NodeLabel
	if s.NetworkMode == "host" {
		spec.HostNetwork = true
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	podSecurity(s, spec)
	asked := b.asked(s)
	c := b.container(s, &t, &asked)
	b.volumes(s, image, &t, &c, &asked)
	b.probes(s, image, spec, &c)
	spec.Containers = []corev1.Container{c}
	b.extras(s, &t, asked)
	if len(s.DependsOn) > 0 && !b.opts.NoDeps {
		b.gate(s, &t)
	}
	return t
}

// userLabels keeps the service's labels: as labels where Kubernetes allows them, and all of them in an annotation.
func userLabels(s *model.Service, t *corev1.PodTemplateSpec) {
	for key, value := range s.Labels {
		legal := len(validation.IsQualifiedName(key)) == 0 && len(validation.IsValidLabelValue(value)) == 0
		if legal && !strings.Contains(key, "cuppa.dev/") {
			t.Labels[key] = value
		}
	}
	if len(s.Labels) > 0 {
		data, _ := json.Marshal(s.Labels)
		t.Annotations[AnnotationLabels] = string(data)
	}
	for key, value := range s.Annotations {
		if len(validation.IsQualifiedName(key)) == 0 && !strings.Contains(key, "cuppa.dev/") {
			t.Annotations[key] = value
		}
	}
}

func podSecurity(s *model.Service, spec *corev1.PodSpec) {
	sec := &corev1.PodSecurityContext{}
	for _, g := range s.Groups {
		if id, err := strconv.ParseInt(g, 10, 64); err == nil {
			sec.SupplementalGroups = append(sec.SupplementalGroups, id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		sec.Sysctls = append(sec.Sysctls, corev1.Sysctl{Name: name, Value: s.Sysctls[name]})
	}
	if len(sec.SupplementalGroups) > 0 || len(sec.Sysctls) > 0 {
		spec.SecurityContext = sec
	}
}

func (b *builder) container(s *model.Service, t *corev1.PodTemplateSpec, asked *extras.Container) corev1.Container {
	c := corev1.Container{
		Name: ObjectName(s.Name), Image: ImageRef(b.project.Name, s), WorkingDir: s.WorkingDir, TTY: s.TTY, Stdin: s.StdinOpen,
		ImagePullPolicy: corev1.PullIfNotPresent,
	}
	// What is built here, no registry has.
	if s.Build != nil || s.PullPolicy == "never" {
		c.ImagePullPolicy = corev1.PullNever
	}
	if s.Entrypoint != nil {
		c.Command = literals(*s.Entrypoint)
		asked.ClearCommand = len(c.Command) == 0
	}
	if s.Command != nil {
		c.Args = literals(*s.Command)
		asked.ClearArgs = len(c.Args) == 0 && s.Entrypoint == nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if v := s.Env[name]; v == nil {
			asked.UnsetEnv = append(asked.UnsetEnv, name)
		} else {
			c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: literal(*v)})
		}
	}
	for _, p := range s.Ports {
		if s.NetworkMode == "host" {
			break // all its ports are the node's as they are
		}
		port := corev1.ContainerPort{ContainerPort: int32(p.Target), Protocol: corev1.Protocol(strings.ToUpper(p.Protocol))}
		if !slices.Contains(c.Ports, port) {
			c.Ports = append(c.Ports, port)
		}
	}
	b.restart(s, t, &c)
	b.security(s, &c, asked)
	c.Resources = requirements(s.Resources)
	return c
}

// literal protects text from Kubernetes's $(NAME) expansion, which Compose does not have.
func literal(text string) string {
	if strings.Contains(text, "$(") || strings.Contains(text, "$$") {
		return strings.ReplaceAll(text, "$", "$$")
	}
	return text
}

func literals(list []string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, literal(v))
	}
	return out
}

// restart gives the container a policy of its own, for a Deployment's pods know only "always".
func (b *builder) restart(s *model.Service, t *corev1.PodTemplateSpec, c *corev1.Container) {
	switch s.Restart.Policy {
	case "always", "unless-stopped":
		return
	case "on-failure":
		c.RestartPolicy = new(corev1.ContainerRestartPolicyOnFailure)
		if s.Restart.MaxRetries > 0 {
			b.warn("restart: on-failure:%s restarts without limit (%s)", restartCount(s), s.Name)
		}
	default:
		c.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
	}
	t.Annotations[api.AnnotationKeepFinished] = "true"
}

func (b *builder) security(s *model.Service, c *corev1.Container, asked *extras.Container) {
	sec := &corev1.SecurityContext{}
	used := false
	if s.User != "" {
		user, group, hasGroup := strings.Cut(s.User, ":")
		uid, errUser := strconv.ParseInt(user, 10, 64)
		gid, errGroup := strconv.ParseInt(group, 10, 64)
		if errUser == nil && (!hasGroup || errGroup == nil) {
			used = true
			sec.RunAsUser = &uid
			if hasGroup {
				sec.RunAsGroup = &gid
			}
		} else {
			asked.User = s.User
		}
	}
	if len(s.CapAdd)+len(s.CapDrop) > 0 {
		used = true
		sec.Capabilities = &corev1.Capabilities{Add: capabilities(s.CapAdd), Drop: capabilities(s.CapDrop)}
	}
	if s.Privileged {
		used, sec.Privileged = true, new(true)
	}
	if s.ReadOnly {
		used, sec.ReadOnlyRootFilesystem = true, new(true)
	}
	if s.NoNewPrivileges {
		used, sec.AllowPrivilegeEscalation = true, new(false)
	}
	if s.SeccompUnconfine {
		used, sec.SeccompProfile = true, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	}
	if used {
		c.SecurityContext = sec
	}
}

func capabilities(names []string) []corev1.Capability {
	var out []corev1.Capability
	for _, n := range names {
		out = append(out, corev1.Capability(strings.TrimPrefix(strings.ToUpper(n), "CAP_")))
	}
	return out
}

// requirements sets a request of zero beside a limit that has none: Kubernetes would take the limit for it, and reserve it.
func requirements(r model.Resources) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{}
	set := func(name corev1.ResourceName, limit, request *resource.Quantity) {
		if limit != nil {
			if out.Limits == nil {
				out.Limits = corev1.ResourceList{}
			}
			out.Limits[name] = *limit
			if request == nil {
				request = resource.NewQuantity(0, resource.DecimalSI)
			}
		}
		if request != nil {
			if out.Requests == nil {
				out.Requests = corev1.ResourceList{}
			}
			out.Requests[name] = *request
		}
	}
	milli := func(n int64) *resource.Quantity {
		if n == 0 {
			return nil
		}
		return resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	size := func(n int64) *resource.Quantity {
		if n == 0 {
			return nil
		}
		return resource.NewQuantity(n, resource.BinarySI)
	}
	set(corev1.ResourceCPU, milli(r.CPULimit), milli(r.CPUReservation))
	set(corev1.ResourceMemory, size(r.MemoryLimit), size(r.MemoryReservation))
	return out
}
