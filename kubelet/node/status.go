package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Health is what was measured.
type Health struct {
	NotReady        []string // why the node cannot run pods; empty: it can
	MemoryAvailable int64
	DiskAvailable   int64
	DiskCapacity    int64
	InodesFree      int64
	Inodes          int64
	PIDs, MaxPIDs   int64
}

// Below these the node is short of something. LeastMemory is also when it begins to give up pods.
const (
	LeastMemory    = 100 << 20
	leastDisk      = 1 << 30
	leastDiskShare = 10 // per cent, if that is less than leastDisk
	leastInodes    = 5  // per cent
	leastPIDs      = 5  // per cent
)

// Status is what a Node says. It is pure; previous gives the times at which conditions changed.
func Status(facts Facts, previous corev1.NodeStatus, health Health, images []corev1.ContainerImage, now time.Time) corev1.NodeStatus {
	out := *previous.DeepCopy()
	out.Capacity, out.Allocatable = facts.Capacity.DeepCopy(), Allocatable(facts)
	for name, quantity := range previous.Capacity {
		if extended(name) {
			out.Capacity[name], out.Allocatable[name] = quantity, quantity
		}
	}
	out.NodeInfo = facts.Info
	out.DaemonEndpoints.KubeletEndpoint.Port = facts.Port
	out.Addresses = nil
	for _, ip := range facts.IPs {
		out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: facts.Labels[corev1.LabelHostname]})
	if images != nil {
		out.Images = images
	}
	for _, c := range Conditions(health) {
		out.Conditions = set(out.Conditions, c, now)
	}
	return out
}

// extended tells a resource that is nobody's here: whoever manages the cluster has written how much of it the node has, and it is not for the node
// to take that back (an extended resource, by its name in a domain that is not Kubernetes' own).
func extended(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// Allocatable is what pods may use: everything but what is reserved.
func Allocatable(facts Facts) corev1.ResourceList {
	out := facts.Capacity.DeepCopy()
	for name, reserved := range facts.Reserved {
		if total, ok := out[name]; ok {
			total.Sub(reserved)
			if total.Sign() < 0 {
				total = *resource.NewQuantity(0, total.Format)
			}
			out[name] = total
		}
	}
	return out
}

// Conditions says how the node is.
func Conditions(h Health) []corev1.NodeCondition {
	disk := h.DiskCapacity > 0 && h.DiskAvailable < min(h.DiskCapacity*leastDiskShare/100, leastDisk) ||
		h.Inodes > 0 && h.InodesFree < h.Inodes*leastInodes/100
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if len(h.NotReady) > 0 {
		ready.Status, ready.Reason = corev1.ConditionFalse, "KubeletNotReady"
		ready.Message = fmt.Sprint(h.NotReady)
	}
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, h.MemoryAvailable > 0 && h.MemoryAvailable < LeastMemory, "Memory",
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		pressure(corev1.NodeDiskPressure, disk, "Disk", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		pressure(corev1.NodePIDPressure, h.MaxPIDs > 0 && h.MaxPIDs-h.PIDs < h.MaxPIDs*leastPIDs/100, "PID",
			"KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		ready,
	}
}

func pressure(kind corev1.NodeConditionType, under bool, what, wellReason, well string) corev1.NodeCondition {
	if !under {
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: wellReason, Message: well}
	}
	reason := map[string]string{"Memory": "KubeletHasInsufficientMemory", "Disk": "KubeletHasDiskPressure", "PID": "KubeletHasInsufficientPID"}[what]
	return corev1.NodeCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: "kubelet has insufficient " + what + " available"}
}

func set(list []corev1.NodeCondition, c corev1.NodeCondition, now time.Time) []corev1.NodeCondition {
	stamp := metav1.NewTime(now.Truncate(time.Second))
	c.LastHeartbeatTime, c.LastTransitionTime = stamp, stamp
	i := slices.IndexFunc(list, func(old corev1.NodeCondition) bool { return old.Type == c.Type })
	if i < 0 {
		return append(list, c)
	}
	if list[i].Status == c.Status {
		c.LastTransitionTime = list[i].LastTransitionTime
	}
	list[i] = c
	return list
}
