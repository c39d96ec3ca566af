package podworker

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

func requests(cpu string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
}

// running is a pod with one container that asks for cpu, of which it has been granted something else perhaps.
func running(uid, asks, has string) *corev1.Pod {
	had := requests(has)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: requests(asks)}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "a", Resources: &had, AllocatedResources: had.Requests}}},
	}
}

func TestRoomFor(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		others []*corev1.Pod
		want   Room
	}{
		{"fits", running("p", "1", "500m"), []*corev1.Pod{running("q", "1", "1")}, Room{}},
		{"never", running("p", "3", "1"), nil, Room{corev1.PodReasonInfeasible, "cpu, requested: 3000, capacity: 2000"}},
		{"not beside the other", running("p", "1500m", "500m"), []*corev1.Pod{running("q", "1", "1")},
			Room{corev1.PodReasonDeferred, "cpu, requested: 1500, used: 1000, capacity: 2000"}},
		{"the other has not shrunk yet", running("p", "1500m", "500m"), []*corev1.Pod{running("q", "500m", "1")},
			Room{corev1.PodReasonDeferred, "used: 1000"}},
		{"the other has ended", running("p", "1500m", "500m"), []*corev1.Pod{func() *corev1.Pod {
			q := running("q", "1", "1")
			q.Status.Phase = corev1.PodSucceeded
			return q
		}()}, Room{}},
		{"it does not count against itself", running("p", "1500m", "1"), []*corev1.Pod{running("p", "1500m", "1")}, Room{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := RoomFor(c.pod, c.others, node)
			if got.Reason != c.want.Reason || !strings.Contains(got.Message, c.want.Message) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestResizeAsked(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want bool
	}{
		{"the same amount, written otherwise", running("p", "1", "1000m"), false},
		{"another amount", running("p", "1", "2"), true},
		{"never started", &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: requests("1")}}}}, false},
	} {
		if got := resizeAsked(c.pod); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestResizeStatus: what a status says of a resize, from asked for to done.
func TestResizeStatus(t *testing.T) {
	scene := func(change func(in *Input)) Input {
		return newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").do(change).in
	}
	for _, c := range []struct {
		name      string
		in        Input
		memory    string
		condition corev1.PodConditionType
		reason    string
	}{
		{"under way", scene(func(*Input) {}), "64Mi", corev1.PodResizeInProgress, ""},
		{"failed", scene(func(in *Input) { in.Memory.Resize = Retry{Reason: corev1.PodReasonError} }), "64Mi", corev1.PodResizeInProgress, corev1.PodReasonError},
		{"no room", scene(func(in *Input) { in.Memory.Room = Room{Reason: corev1.PodReasonDeferred} }), "64Mi", corev1.PodResizePending, corev1.PodReasonDeferred},
		{"done", scene(func(in *Input) { in.Observed.Containers[0].Cgroup.Memory = 128 << 20 }), "128Mi", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Status(c.in, Judge(c.in), c.in.Pod.Status, Surroundings{})
			if memory := got.ContainerStatuses[0].Resources.Limits.Memory().String(); memory != c.memory {
				t.Errorf("the container has %s, want %s", memory, c.memory)
			}
			found, reason := corev1.PodConditionType(""), ""
			for _, condition := range got.Conditions {
				if condition.Type == corev1.PodResizeInProgress || condition.Type == corev1.PodResizePending {
					found, reason = condition.Type, condition.Reason
				}
			}
			if found != c.condition || reason != c.reason {
				t.Errorf("condition %s (%s), want %s (%s)", found, reason, c.condition, c.reason)
			}
		})
	}
}
