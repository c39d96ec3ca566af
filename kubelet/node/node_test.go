package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/node"
)

func facts() node.Facts {
	return node.Facts{
		Labels: map[string]string{corev1.LabelHostname: "n1", "zone": "a"}, IPs: []string{"192.0.2.1"}, Port: 10250, PodCIDR: "10.1.0.0/24",
		Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi")},
		Reserved: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}

func inCluster(t *testing.T, test func(t *testing.T, cluster *kubelettest.Cluster, synced chan struct{})) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cluster, runtime, synced := kubelettest.NewCluster(), kubelettest.NewRuntime("app:1"), make(chan struct{})
		agent, err := node.New(node.Config{Name: "n1", Cluster: cluster, Runtime: runtime, Images: runtime, Facts: facts(), DataDir: dir, Synced: synced})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- agent.Run(ctx) }()
		synctest.Wait()
		test(t, cluster, synced)
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func get(t *testing.T, c *kubelettest.Cluster) *corev1.Node {
	t.Helper()
	n, ok := kube.Get[*corev1.Node](c, kube.Nodes, "", "n1")
	if !ok {
		t.Fatal("there is no node")
	}
	return n
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func after(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

func TestNodeRegistersAndBecomesReady(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, synced chan struct{}) {
		after(time.Second)
		if c := condition(get(t, cluster), corev1.NodeReady); c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, "pods that ran before") {
			t.Errorf("before the pods are known: %+v", c)
		}
		close(synced)
		after(time.Millisecond)
		n := get(t, cluster)
		if c := condition(n, corev1.NodeReady); c.Status != corev1.ConditionTrue || c.Reason != "KubeletReady" {
			t.Errorf("ready: %+v", c)
		}
		if n.Status.Addresses[0].Address != "192.0.2.1" || n.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 || n.Spec.PodCIDR != "10.1.0.0/24" {
			t.Errorf("node: %+v", n)
		}
		if memory := n.Status.Allocatable[corev1.ResourceMemory]; memory.String() != "3Gi" {
			t.Errorf("allocatable memory %s, want 3Gi", memory.String())
		}
		if len(n.Status.Images) != 1 {
			t.Errorf("images: %v", n.Status.Images)
		}
	})
}

// TestWhatOthersSayIsKept: who manages the cluster writes of resources that the node knows nothing of, and controllers write conditions; the node takes
// none of it back, also if they write at the same moment.
func TestWhatOthersSayIsKept(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, synced chan struct{}) {
		after(time.Second)
		n := get(t, cluster).DeepCopy()
		n.Status.Capacity["example.com/dongle"] = resource.MustParse("5")
		n.Status.Capacity["hugepages-2Mi"] = resource.MustParse("5") // the node knows better
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse})
		if _, err := cluster.UpdateStatus(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		close(synced) // the node has something to say itself
		after(time.Minute)
		n = get(t, cluster)
		for what, list := range map[string]corev1.ResourceList{"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable} {
			if dongles := list["example.com/dongle"]; dongles.String() != "5" || len(list) != 3 {
				t.Errorf("%s: %v", what, list)
			}
		}
		if condition(n, corev1.NodeNetworkUnavailable).Status != corev1.ConditionFalse || condition(n, corev1.NodeReady).Status != corev1.ConditionTrue {
			t.Errorf("conditions: %+v", n.Status.Conditions)
		}
		n = n.DeepCopy()
		delete(n.Status.Capacity, "example.com/dongle")
		if _, err := cluster.UpdateStatus(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Minute)
		if list := get(t, cluster).Status.Allocatable; len(list) != 2 {
			t.Errorf("allocatable after it was taken away: %v", list)
		}
	})
}

func TestLeaseIsRenewed(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, _ chan struct{}) {
		renewed := func() time.Time {
			l, ok := kube.Get[*coordinationv1.Lease](cluster, kube.Leases, corev1.NamespaceNodeLease, "n1")
			if !ok {
				t.Fatal("there is no lease")
			}
			return l.Spec.RenewTime.Time
		}
		first := renewed()
		after(10 * time.Second)
		if got := renewed().Sub(first); got != 10*time.Second {
			t.Errorf("renewed after %s, want 10s", got)
		}
		if err := cluster.Delete(t.Context(), kube.Leases, corev1.NamespaceNodeLease, "n1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		after(11 * time.Second)
		renewed()
	})
}

func TestNodeComesBackAfterDeletion(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, synced chan struct{}) {
		close(synced)
		after(time.Second)
		if err := cluster.Delete(t.Context(), kube.Nodes, "", "n1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if c := condition(get(t, cluster), corev1.NodeReady); c.Status != corev1.ConditionTrue {
			t.Errorf("ready: %+v", c)
		}
	})
}

func TestLabelsAreRestored(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, _ chan struct{}) {
		n := get(t, cluster).DeepCopy()
		n.Labels = map[string]string{"mine": "stays"}
		if _, err := cluster.Update(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := get(t, cluster).Labels; got["zone"] != "a" || got["mine"] != "stays" {
			t.Errorf("labels: %v", got)
		}
	})
}

func TestAnIdleNodeWritesLittle(t *testing.T) {
	inCluster(t, func(t *testing.T, cluster *kubelettest.Cluster, synced chan struct{}) {
		close(synced)
		after(time.Second)
		before := get(t, cluster).ResourceVersion
		after(4 * time.Minute)
		if now := get(t, cluster).ResourceVersion; now != before {
			t.Errorf("the node was written although nothing changed: %s then %s", before, now)
		}
	})
}

func TestPressure(t *testing.T) {
	well := node.Health{MemoryAvailable: 1 << 30, DiskAvailable: 50 << 30, DiskCapacity: 100 << 30, InodesFree: 50, Inodes: 100, PIDs: 10, MaxPIDs: 1000}
	for _, c := range []struct {
		name   string
		change func(h *node.Health)
		want   corev1.NodeConditionType
	}{
		{"well", func(*node.Health) {}, ""},
		{"memory", func(h *node.Health) { h.MemoryAvailable = 50 << 20 }, corev1.NodeMemoryPressure},
		{"disk", func(h *node.Health) { h.DiskAvailable = 500 << 20 }, corev1.NodeDiskPressure},
		{"a small disk counts in shares", func(h *node.Health) { h.DiskCapacity, h.DiskAvailable = 2<<30, 500<<20 }, ""},
		{"inodes", func(h *node.Health) { h.InodesFree = 1 }, corev1.NodeDiskPressure},
		{"processes", func(h *node.Health) { h.PIDs = 990 }, corev1.NodePIDPressure},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := well
			c.change(&h)
			for _, got := range node.Conditions(h) {
				want := corev1.ConditionFalse
				if got.Type == c.want || got.Type == corev1.NodeReady {
					want = corev1.ConditionTrue
				}
				if got.Status != want {
					t.Errorf("%s is %s, want %s", got.Type, got.Status, want)
				}
			}
		})
	}
}

func TestConditionsKeepTheirTimes(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	well := node.Health{MemoryAvailable: 1 << 30}
	first := node.Status(facts(), corev1.NodeStatus{}, well, nil, at(0))
	second := node.Status(facts(), first, well, nil, at(1))
	ill := node.Status(facts(), second, node.Health{NotReady: []string{"no runtime"}}, nil, at(2))
	if got := condition(&corev1.Node{Status: second}, corev1.NodeReady).LastTransitionTime.Time; !got.Equal(at(0)) {
		t.Errorf("unchanged since %s, want %s", got, at(0))
	}
	if got := condition(&corev1.Node{Status: ill}, corev1.NodeReady); !got.LastTransitionTime.Time.Equal(at(2)) || got.Status != corev1.ConditionFalse {
		t.Errorf("changed: %+v", got)
	}
}
