package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// defaultPod fills a pod itself: what every template gets too, and a few things that only real pods get.
func defaultPod(pod *corev1.Pod) {
	defaultPodSpec(&pod.Spec)
	if pod.Spec.EnableServiceLinks == nil {
		pod.Spec.EnableServiceLinks = ptr.To(corev1.DefaultEnableServiceLinks)
	}
	requestsFromLimits(&pod.Spec)
	podRequests(&pod.Spec)
	if pod.Spec.HostNetwork {
		defaultHostPorts(pod.Spec.InitContainers)
		defaultHostPorts(pod.Spec.Containers)
	}
	defaultPodStatus(&pod.Status)
}

// defaultPodTemplate fills the pod of a workload, leaving to the pod what depends on it alone.
func defaultPodTemplate(template *corev1.PodTemplateSpec) { defaultPodSpec(&template.Spec) }

// defaultHostPorts: on the host's network a container port is a host port.
func defaultHostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			if port := &containers[i].Ports[j]; port.HostPort == 0 {
				port.HostPort = port.ContainerPort
			}
		}
	}
}

// defaultPodStatus keeps the single addresses equal to the first of the lists; the single one wins, as old nodes set only it.
func defaultPodStatus(status *corev1.PodStatus) {
	switch {
	case status.PodIP != "" && (len(status.PodIPs) == 0 || status.PodIPs[0].IP != status.PodIP):
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	case status.PodIP == "" && len(status.PodIPs) > 0:
		status.PodIP = status.PodIPs[0].IP
	}
	switch {
	case status.HostIP != "" && (len(status.HostIPs) == 0 || status.HostIPs[0].IP != status.HostIP):
		status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	case status.HostIP == "" && len(status.HostIPs) > 0:
		status.HostIP = status.HostIPs[0].IP
	}
}

func defaultPodSpec(spec *corev1.PodSpec) {
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&c)
		spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = corev1.DNSClusterFirst
	}
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.TerminationGracePeriodSeconds == nil {
		spec.TerminationGracePeriodSeconds = ptr.To[int64](corev1.DefaultTerminationGracePeriodSeconds)
	}
	if spec.SchedulerName == "" {
		spec.SchedulerName = corev1.DefaultSchedulerName
	}
	// The account has two names since the first one was found to be too short; old clients read the old one.
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicyOf(c.Image)
	}
	if c.TerminationMessagePath == "" {
		c.TerminationMessagePath = corev1.TerminationMessagePathDefault
	}
	if c.TerminationMessagePolicy == "" {
		c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	}
	for i := range c.Ports {
		if c.Ports[i].Protocol == "" {
			c.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if from.FieldRef != nil && from.FieldRef.APIVersion == "" {
			from.FieldRef.APIVersion = "v1"
		}
		if from.FileKeyRef != nil && from.FileKeyRef.Optional == nil {
			from.FileKeyRef.Optional = ptr.To(false)
		}
	}
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		defaultHandler(c.Lifecycle.PostStart)
		defaultHandler(c.Lifecycle.PreStop)
	}
}

// pullPolicyOf: an image whose tag moves is looked up at every start.
func pullPolicyOf(image string) corev1.PullPolicy {
	if moving(image) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// moving is true for an image named without tag and digest, or with the tag latest.
func moving(image string) bool {
	if image == "" || strings.Contains(image, "@") {
		return false
	}
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, tagged := strings.Cut(name, ":")
	return !tagged || tag == "latest"
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	for _, f := range []struct {
		value *int32
		wish  int32
	}{
		{&p.TimeoutSeconds, 1}, {&p.PeriodSeconds, 10}, {&p.SuccessThreshold, 1}, {&p.FailureThreshold, 3},
	} {
		if *f.value == 0 {
			*f.value = f.wish
		}
	}
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil && p.GRPC.Service == nil {
		p.GRPC.Service = ptr.To("")
	}
}

func defaultHandler(h *corev1.LifecycleHandler) {
	if h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
}

func defaultHTTPGet(get *corev1.HTTPGetAction) {
	if get == nil {
		return
	}
	if get.Path == "" {
		get.Path = "/"
	}
	if get.Scheme == "" {
		get.Scheme = corev1.URISchemeHTTP
	}
}

// defaultVolume makes a volume without a source an empty directory, and fills what each source may leave out.
func defaultVolume(source *corev1.VolumeSource) {
	if *source == (corev1.VolumeSource{}) {
		source.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s := source.Secret; s != nil {
		defaultTo(&s.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s := source.ConfigMap; s != nil {
		defaultTo(&s.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s := source.DownwardAPI; s != nil {
		defaultTo(&s.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardItems(s.Items)
	}
	if s := source.Projected; s != nil {
		defaultTo(&s.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range s.Sources {
			if down := s.Sources[i].DownwardAPI; down != nil {
				defaultDownwardItems(down.Items)
			}
			if token := s.Sources[i].ServiceAccountToken; token != nil {
				defaultTo(&token.ExpirationSeconds, 60*60)
			}
			if cert := s.Sources[i].PodCertificate; cert != nil {
				defaultTo(&cert.MaxExpirationSeconds, 24*60*60)
			}
		}
	}
	if s := source.HostPath; s != nil {
		defaultTo(&s.Type, corev1.HostPathUnset)
	}
	if s := source.Image; s != nil && s.PullPolicy == "" {
		s.PullPolicy = pullPolicyOf(s.Reference)
	}
	if s := source.Ephemeral; s != nil && s.VolumeClaimTemplate != nil {
		defaultTo(&s.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
	if s := source.ISCSI; s != nil && s.ISCSIInterface == "" {
		s.ISCSIInterface = "default"
	}
	defaultOldVolume(source)
}

// defaultOldVolume fills the sources of storage that is reached through drivers of its own today.
func defaultOldVolume(source *corev1.VolumeSource) {
	if s := source.RBD; s != nil {
		s.RBDPool = orDefault(s.RBDPool, "rbd")
		s.RadosUser = orDefault(s.RadosUser, "admin")
		s.Keyring = orDefault(s.Keyring, "/etc/ceph/keyring")
	}
	if s := source.AzureDisk; s != nil {
		defaultTo(&s.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		defaultTo(&s.Kind, corev1.AzureSharedBlobDisk)
		defaultTo(&s.FSType, "ext4")
		defaultTo(&s.ReadOnly, false)
	}
	if s := source.ScaleIO; s != nil {
		s.StorageMode = orDefault(s.StorageMode, "ThinProvisioned")
		s.FSType = orDefault(s.FSType, "xfs")
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if ref := items[i].FieldRef; ref != nil && ref.APIVersion == "" {
			ref.APIVersion = "v1"
		}
	}
}

// defaultTo sets an optional field that is absent.
func defaultTo[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}
