// Package criconfig translates a pod's spec into what a container runtime is asked for.
//
// Sandbox and Container are pure: every value they need that is not in the spec comes in as an argument. Start with them.
package criconfig

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/qos"
)

// Node is what the translation needs to know of this node.
type Node struct {
	CgroupRoot     string // "/cuppa": pods live below it
	LogRoot        string // "/var/lib/cuppa/log/pods"
	ClusterDNS     []string
	ClusterDomain  string
	ResolvConf     ResolvConf // the host's own
	MemoryCapacity int64
	LimitCPU       bool // enforce cpu limits as quota
}

// LogDir is where the logs of a pod's containers are.
func (n Node) LogDir(key observe.Key) string {
	return filepath.Join(n.LogRoot, key.Namespace+"_"+key.Name+"_"+string(key.UID))
}

// Logged lists the pods that have a log directory.
func (n Node) Logged() []observe.Key {
	entries, err := os.ReadDir(n.LogRoot)
	if err != nil {
		return nil // not made yet
	}
	var out []observe.Key
	for _, entry := range entries {
		if parts := strings.Split(entry.Name(), "_"); len(parts) == 3 {
			out = append(out, observe.Key{Namespace: parts[0], Name: parts[1], UID: types.UID(parts[2])})
		}
	}
	return out
}

// Sandbox is the configuration of a pod's sandbox.
func Sandbox(node Node, pod *corev1.Pod, attempt uint32) *runtimeapi.PodSandboxConfig {
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		LogDirectory: node.LogDir(observe.KeyOf(pod)),
		DnsConfig:    DNS(node, pod),
		Labels:       podLabels(pod),
		Annotations:  podAnnotations(pod),
		Linux:        linuxSandbox(node, pod),
	}
	if !pod.Spec.HostNetwork {
		config.Hostname = Hostname(node, pod)
		config.PortMappings = portMappings(pod)
	}
	return config
}

// podAnnotations are the pod's, but for those that are meant for the engine: they go another way.
func podAnnotations(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	for key, value := range pod.Annotations {
		if !strings.HasPrefix(key, api.EnginePrefix) {
			out[key] = value
		}
	}
	return out
}

func podLabels(pod *corev1.Pod) map[string]string {
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, identity(pod))
	return labels
}

func identity(pod *corev1.Pod) map[string]string {
	return map[string]string{
		observe.LabelPodName:      pod.Name,
		observe.LabelPodNamespace: pod.Namespace,
		observe.LabelPodUID:       string(pod.UID),
	}
}

// maxHostname is the kernel's limit.
const maxHostname = 63

// Hostname is the name that a pod's containers see as their own.
func Hostname(node Node, pod *corev1.Pod) string {
	if override := pod.Spec.HostnameOverride; override != nil && *override != "" {
		return *override
	}
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN {
		if fqdn := FQDN(node, pod); fqdn != "" {
			return fqdn
		}
	}
	return name
}

// FQDN is the full name of a pod that has a subdomain, or empty.
func FQDN(node Node, pod *corev1.Pod) string {
	if pod.Spec.Subdomain == "" {
		return ""
	}
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	return name + "." + pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + node.ClusterDomain
}

func portMappings(pod *corev1.Pod) []*runtimeapi.PortMapping {
	var out []*runtimeapi.PortMapping
	add := func(containers []corev1.Container) {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				out = append(out, &runtimeapi.PortMapping{
					Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
				})
			}
		}
	}
	add(pod.Spec.InitContainers)
	add(pod.Spec.Containers)
	return out
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	default:
		return runtimeapi.Protocol_TCP
	}
}

func linuxSandbox(node Node, pod *corev1.Pod) *runtimeapi.LinuxPodSandboxConfig {
	security := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaces(pod),
		Seccomp:          seccomp(nil, pod, false),
	}
	for _, c := range pod.Spec.Containers {
		if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
			security.Privileged = true
		}
	}
	out := &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent:    CgroupParent(node, pod),
		SecurityContext: security,
		Resources:       podResources(pod),
	}
	if len(pod.Spec.Overhead) > 0 {
		out.Overhead = linuxResources(corev1.ResourceRequirements{Requests: pod.Spec.Overhead, Limits: pod.Spec.Overhead}, true)
	}
	if context := pod.Spec.SecurityContext; context != nil {
		security.RunAsUser, security.RunAsGroup = int64Value(context.RunAsUser), int64Value(context.RunAsGroup)
		security.SupplementalGroups = groups(pod)
		security.SelinuxOptions = selinux(context.SELinuxOptions)
		for _, s := range context.Sysctls {
			if out.Sysctls == nil {
				out.Sysctls = map[string]string{}
			}
			out.Sysctls[s.Name] = s.Value
		}
	}
	return out
}

// CgroupParent is the cgroup that holds all containers of a pod: one folder per class, so that a class can be limited as a whole.
func CgroupParent(node Node, pod *corev1.Pod) string {
	parts := []string{"/", node.CgroupRoot, "kubepods"}
	if class := qos.Of(pod); class != corev1.PodQOSGuaranteed {
		parts = append(parts, strings.ToLower(string(class)))
	}
	return filepath.Join(append(parts, "pod"+string(pod.UID))...)
}

func podResources(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	return linuxResources(corev1.ResourceRequirements{
		Requests: resource.PodRequests(pod, resource.PodResourcesOptions{}),
		Limits:   podLimits(pod),
	}, true)
}

// podLimits is the sum of the containers' limits of those resources that every container limits; a pod with one
// unlimited container is unlimited.
func podLimits(pod *corev1.Pod) corev1.ResourceList {
	limits := resource.PodLimits(pod, resource.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if pod.Spec.Resources != nil {
			if _, ok := pod.Spec.Resources.Limits[name]; ok {
				continue
			}
		}
		for i := range pod.Spec.Containers {
			if _, ok := pod.Spec.Containers[i].Resources.Limits[name]; !ok {
				delete(limits, name)
			}
		}
	}
	return limits
}

// ContainerInput is everything about a container that is not in its spec.
type ContainerInput struct {
	Attempt     uint32
	Image       string // what the runtime resolved the image to
	Envs        []*runtimeapi.KeyValue
	Command     []string // with variables expanded
	Args        []string
	Mounts      []*runtimeapi.Mount
	MessagePath string // on the host; empty: none
	TargetID    string // container whose process namespace to join
	RunAsUser   *int64 // of the image, where the spec does not say
}

// Container is the configuration of one container.
func Container(node Node, pod *corev1.Pod, c *corev1.Container, in ContainerInput) *runtimeapi.ContainerConfig {
	labels := identity(pod)
	labels[observe.LabelContainerName] = c.Name
	annotations := map[string]string{
		observe.AnnotationHash:          observe.Hash(c),
		observe.AnnotationRestartCount:  strconv.Itoa(int(in.Attempt)),
		observe.AnnotationMessagePath:   c.TerminationMessagePath,
		observe.AnnotationMessagePolicy: string(c.TerminationMessagePolicy),
	}
	if in.MessagePath != "" {
		annotations[observe.AnnotationTerminationHostPath] = in.MessagePath
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		annotations[observe.AnnotationPodGrace] = strconv.FormatInt(*grace, 10)
	}
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: in.Attempt},
		Image:       &runtimeapi.ImageSpec{Image: in.Image, UserSpecifiedImage: c.Image},
		Command:     in.Command,
		Args:        in.Args,
		WorkingDir:  c.WorkingDir,
		Envs:        in.Envs,
		Mounts:      in.Mounts,
		Labels:      labels,
		Annotations: annotations,
		LogPath:     filepath.Join(c.Name, strconv.Itoa(int(in.Attempt))+".log"),
		Stdin:       c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux:      linuxContainer(node, pod, c, in),
		StopSignal: stopSignal(c),
	}
	return config
}

func stopSignal(c *corev1.Container) runtimeapi.Signal {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT
	}
	name := strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(string(*c.Lifecycle.StopSignal))
	return runtimeapi.Signal(runtimeapi.Signal_value["SIGNAL_"+name])
}

func linuxContainer(node Node, pod *corev1.Pod, c *corev1.Container, in ContainerInput) *runtimeapi.LinuxContainerConfig {
	resources := linuxResources(c.Resources, node.LimitCPU)
	resources.OomScoreAdj = qos.OOMScoreAdj(pod, c, node.MemoryCapacity)
	return &runtimeapi.LinuxContainerConfig{Resources: resources, SecurityContext: security(pod, c, in)}
}
