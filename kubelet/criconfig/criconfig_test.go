package criconfig_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
)

func node() criconfig.Node {
	return criconfig.Node{
		CgroupRoot: "cuppa", LogRoot: "/logs", ClusterDNS: []string{"10.0.0.10"}, ClusterDomain: "cluster.local", MemoryCapacity: 8 << 30, LimitCPU: true,
		ResolvConf: criconfig.ResolvConf{Servers: []string{"192.0.2.53"}, Searches: []string{"example.org"}, Options: []string{"timeout:1"}},
	}
}

func ptr[T any](v T) *T { return &v }

func plain() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-0", UID: "u1", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"engine.cuppa.dev/extras": "{}", "team": "shop"}},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr(int64(30)), Containers: []corev1.Container{{
			Name: "app", Image: "app:1", TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile}}},
	}
}

func rich() *corev1.Pod {
	pod := plain()
	pod.Spec.Hostname, pod.Spec.Subdomain = "web", "sub"
	pod.Spec.ShareProcessNamespace = ptr(true)
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{"corp"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr("1")}, {Name: "use-vc"}}}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1000)), FSGroup: ptr(int64(2000)), SupplementalGroups: []int64{3000},
		Sysctls: []corev1.Sysctl{{Name: "net.core.somaxconn", Value: "1024"}}}
	c := &pod.Spec.Containers[0]
	c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}, {ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP, HostIP: "127.0.0.1"}, {ContainerPort: 9}}
	c.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("2Gi")},
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("4Gi"), "hugepages-2Mi": resource.MustParse("4Mi")},
	}
	c.SecurityContext = &corev1.SecurityContext{RunAsGroup: ptr(int64(1001)), ReadOnlyRootFilesystem: ptr(true), AllowPrivilegeEscalation: ptr(false),
		Capabilities:   &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr("profiles/x.json")}}
	c.Lifecycle = &corev1.Lifecycle{StopSignal: ptr(corev1.SIGUSR1)}
	c.Stdin, c.TTY = true, true
	return pod
}

func host() *corev1.Pod {
	pod := plain()
	pod.Spec.HostNetwork, pod.Spec.HostPID, pod.Spec.HostIPC = true, true, true
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr(true)}
	return pod
}

// TestGolden holds the whole translation of three pods: a plain one, one that uses much, and one that shares all with the host.
func TestGolden(t *testing.T) {
	for name, pod := range map[string]*corev1.Pod{"plain": plain(), "rich": rich(), "host": host()} {
		t.Run(name, func(t *testing.T) {
			in := criconfig.ContainerInput{
				Attempt: 2, Image: "sha256:abc", Command: []string{"run"}, Args: []string{"it"}, MessagePath: "/pods/u1/containers/app/2",
				Envs:   []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1")}},
				Mounts: []*runtimeapi.Mount{{ContainerPath: "/etc/hosts", HostPath: "/pods/u1/etc-hosts"}},
			}
			got := "sandbox:\n" + text(t, criconfig.Sandbox(node(), pod, 1)) + "\ncontainer:\n" + text(t, criconfig.Container(node(), pod, &pod.Spec.Containers[0], in)) + "\n"
			testkit.Golden(t, name+".json.txt", got)
		})
	}
}

func text(t *testing.T, m proto.Message) string {
	t.Helper()
	raw, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var sorted any // protojson's order and spaces change on purpose
	if err := json.Unmarshal(raw, &sorted); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(sorted); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDNSPolicies(t *testing.T) {
	for _, c := range []struct {
		policy  corev1.DNSPolicy
		hostNet bool
		want    string
	}{
		{corev1.DNSClusterFirst, false, "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5"},
		{corev1.DNSClusterFirst, true, "192.0.2.53 | example.org | timeout:1"},
		{corev1.DNSClusterFirstWithHostNet, true, "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5"},
		{corev1.DNSDefault, false, "192.0.2.53 | example.org | timeout:1"},
		{corev1.DNSNone, false, " |  | "},
	} {
		pod := plain()
		pod.Spec.DNSPolicy, pod.Spec.HostNetwork = c.policy, c.hostNet
		got := criconfig.DNS(node(), pod)
		if line := strings.Join(got.Servers, " ") + " | " + strings.Join(got.Searches, " ") + " | " + strings.Join(got.Options, " "); line != c.want {
			t.Errorf("%s, host network %t: %q, want %q", c.policy, c.hostNet, line, c.want)
		}
	}
}

func TestHostnames(t *testing.T) {
	long := strings.Repeat("a", 62) + "-" + "b"
	for _, c := range []struct {
		change func(p *corev1.Pod)
		want   string
	}{
		{func(*corev1.Pod) {}, "web-0"},
		{func(p *corev1.Pod) { p.Spec.Hostname = "h" }, "h"},
		{func(p *corev1.Pod) { p.Name = long }, strings.Repeat("a", 62)},
		{func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "s", ptr(true) }, "web-0.s.ns.svc.cluster.local"},
		{func(p *corev1.Pod) { p.Spec.HostnameOverride = ptr("o") }, "o"},
	} {
		pod := plain()
		c.change(pod)
		if got := criconfig.Hostname(node(), pod); got != c.want {
			t.Errorf("hostname %q, want %q", got, c.want)
		}
	}
}

func TestNonRoot(t *testing.T) {
	for _, c := range []struct {
		name      string
		user      *int64
		imageUID  *int64
		imageUser string
		fails     string
	}{
		{"the spec names a user", ptr(int64(5)), nil, "", ""},
		{"the spec names root", ptr(int64(0)), nil, "", "breaks non-root policy"},
		{"the image names a user", nil, ptr(int64(5)), "", ""},
		{"the image names root", nil, ptr(int64(0)), "", "image will run as root"},
		{"the image names nobody", nil, nil, "", "image will run as root"},
		{"the image names a user by name", nil, nil, "redis", "non-numeric user (redis)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := plain()
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr(true), RunAsUser: c.user}
			err := criconfig.CheckNonRoot(pod, &pod.Spec.Containers[0], c.imageUID, c.imageUser)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
		})
	}
}
