package deployment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// world is a Deployment with its ReplicaSets, and pods that come and go as numbers.
type world struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	log  strings.Builder
	uid  int
}

func newWorld(replicas int32, strategy appsv1.DeploymentStrategy) *world {
	return &world{
		now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		d: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 1},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Strategy: strategy,
				ProgressDeadlineSeconds: ptr.To[int32](600),
				RevisionHistoryLimit:    ptr.To[int32](2),
				Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}}},
			},
		},
	}
}

func rolling(surge, unavailable intstr.IntOrString) appsv1.DeploymentStrategy {
	return appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}}
}

func (w *world) setImage(image string) {
	w.d = w.d.DeepCopy()
	w.d.Spec.Template.Spec.Containers[0].Image = image
	w.d.Generation++
}

// step lets the controller decide once, carries the plan out, and reports whether anything changed.
func (w *world) step() bool {
	plan := Decide(w.d, w.sets, w.now)
	changed := plan.Create != nil || len(plan.Update)+len(plan.Delete) > 0
	if plan.Create != nil {
		w.uid++
		rs := plan.Create
		rs.UID = types.UID(fmt.Sprint("rs", w.uid))
		rs.Generation = 1
		rs.CreationTimestamp = metav1.NewTime(w.now)
		w.sets = append(w.sets, rs)
	}
	for _, next := range plan.Update {
		for i, rs := range w.sets {
			if rs.Name == next.Name {
				if *rs.Spec.Replicas != *next.Spec.Replicas {
					next.Generation++
				}
				w.sets[i] = next
			}
		}
	}
	for _, gone := range plan.Delete {
		for i, rs := range w.sets {
			if rs.Name == gone.Name {
				w.sets = append(w.sets[:i:i], w.sets[i+1:]...)
				break
			}
		}
	}
	w.d = w.d.DeepCopy()
	w.d.Status = plan.Status
	return changed
}

// pods lets every ReplicaSet come closer to its size: removals at once, new pods become available up to ready at a time.
func (w *world) pods(ready int32) bool {
	moved := false
	for i, rs := range w.sets {
		rs = rs.DeepCopy()
		before := rs.Status
		want := *rs.Spec.Replicas
		s := &rs.Status
		s.Replicas = want
		s.AvailableReplicas = min(s.AvailableReplicas, want)
		if n := min(ready, want-s.AvailableReplicas); n > 0 {
			s.AvailableReplicas += n
			ready -= n
		}
		s.ReadyReplicas = s.AvailableReplicas
		s.ObservedGeneration = rs.Generation
		if before.Replicas != s.Replicas || before.AvailableReplicas != s.AvailableReplicas || before.ObservedGeneration != s.ObservedGeneration {
			moved = true
		}
		w.sets[i] = rs
	}
	return moved
}

func (w *world) counts() (total, available int32) {
	for _, rs := range w.sets {
		total += *rs.Spec.Replicas
		available += min(rs.Status.AvailableReplicas, *rs.Spec.Replicas)
	}
	return total, available
}

func (w *world) note(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

func (w *world) show() {
	for _, rs := range w.sets {
		w.note("  revision %s: %d wanted, %d available", rs.Annotations[RevisionAnnotation], *rs.Spec.Replicas, rs.Status.AvailableReplicas)
	}
	s := w.d.Status
	for _, c := range s.Conditions {
		w.note("  %s=%s %s", c.Type, c.Status, c.Reason)
	}
}

// settle runs until nothing moves, noting each state.
func (w *world) settle(t *testing.T, ready int32) {
	t.Helper()
	for range 100 {
		w.now = w.now.Add(time.Second)
		changed := w.step()
		w.show()
		w.note("")
		if moved := w.pods(ready); !changed && !moved {
			return
		}
	}
	t.Fatal("the rollout does not end")
}

func TestTranscripts(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int32
		strategy appsv1.DeploymentStrategy
	}{
		{"surge", 3, rolling(intstr.FromInt32(1), intstr.FromInt32(0))},
		{"default", 4, rolling(intstr.FromString("25%"), intstr.FromString("25%"))},
		{"recreate", 2, appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(c.replicas, c.strategy)
			w.note("create with %d replicas", c.replicas)
			w.settle(t, 10)
			w.note("new image")
			w.setImage("web:2")
			w.settle(t, 1)
			w.note("back to the first image")
			w.setImage("web:1")
			w.settle(t, 10)
			testkit.Golden(t, c.name+".txt", w.log.String())
		})
	}
}

// TestBounds rolls out in random circumstances and holds what maxSurge and maxUnavailable promise at every step.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		replicas, surge, unavailable := r.Int32N(20)+1, r.Int32N(5), r.Int32N(5)
		w := newWorld(replicas, rolling(intstr.FromInt32(surge), intstr.FromInt32(unavailable)))
		w.settle(t, 100)
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
		image := 1
		w.setImage("web:next")
		for step := 0; ; step++ {
			if step > 500 {
				t.Fatalf("round %d: %d replicas, surge %d, unavailable %d: no end after %d steps", round, replicas, surge, unavailable, step)
			}
			if step < 20 && r.Int32N(10) == 0 {
				image++
				w.setImage(fmt.Sprint("web:", image))
			}
			changed := w.step()
			total, available := w.counts()
			if total > replicas+surge {
				t.Fatalf("round %d step %d: %d pods, want at most %d+%d", round, step, total, replicas, surge)
			}
			if available < replicas-unavailable {
				t.Fatalf("round %d step %d: %d available, want at least %d-%d", round, step, available, replicas, unavailable)
			}
			if moved := w.pods(r.Int32N(4)); !changed && !moved && step > 20 && w.d.Status.AvailableReplicas == replicas && w.d.Status.UpdatedReplicas == replicas {
				break
			}
		}
	}
}

// TestScaleInRollout holds that a resize in the middle of a rollout keeps the sum right and loses no progress.
func TestScaleInRollout(t *testing.T) {
	w := newWorld(10, rolling(intstr.FromInt32(3), intstr.FromInt32(2)))
	w.settle(t, 100)
	w.setImage("web:2")
	w.step()
	w.pods(3)
	w.step()
	before := w.sets[len(w.sets)-1]
	w.d = w.d.DeepCopy()
	w.d.Spec.Replicas = ptr.To[int32](20)
	w.d.Generation++
	w.step()
	total, _ := w.counts()
	if total != 23 {
		t.Errorf("after scaling to 20 with surge 3: got %d pods wanted, want 23", total)
	}
	after := w.sets[len(w.sets)-1]
	if *after.Spec.Replicas <= *before.Spec.Replicas {
		t.Errorf("the new set went from %d to %d, want growth in proportion", *before.Spec.Replicas, *after.Spec.Replicas)
	}
}

func TestDeadline(t *testing.T) {
	w := newWorld(1, rolling(intstr.FromInt32(1), intstr.FromInt32(0)))
	w.settle(t, 1)
	w.setImage("web:broken")
	w.step()
	w.pods(0)
	w.step()
	plan := Decide(w.d, w.sets, w.now)
	if plan.Again <= 0 || plan.Again > 600*time.Second {
		t.Fatalf("waiting for the deadline: got %s, want up to 600s", plan.Again)
	}
	w.now = w.now.Add(601 * time.Second)
	w.step()
	for _, c := range w.d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason != "ProgressDeadlineExceeded" {
			t.Errorf("after the deadline: got reason %s, want ProgressDeadlineExceeded", c.Reason)
		}
	}
}

// TestPausedMakesNoHistory holds that edits of a paused Deployment are gathered: one new revision when it goes on, however many there were.
func TestPausedMakesNoHistory(t *testing.T) {
	w := newWorld(2, rolling(intstr.FromInt32(1), intstr.FromInt32(0)))
	w.settle(t, 2)
	pause := func(paused bool) {
		w.d = w.d.DeepCopy()
		w.d.Spec.Paused = paused
		w.d.Generation++
	}
	pause(true)
	for _, image := range []string{"web:2", "web:3"} {
		w.setImage(image)
		if w.step(); len(w.sets) != 1 {
			t.Fatalf("paused, with %s: got %d sets, want the one that runs", image, len(w.sets))
		}
	}
	w.d.Spec.Replicas = ptr.To[int32](4)
	w.step()
	if got := *w.sets[0].Spec.Replicas; got != 4 {
		t.Errorf("paused and resized: the set that runs has %d, want 4", got)
	}
	pause(false)
	w.settle(t, 4)
	current := w.sets[len(w.sets)-1]
	if len(w.sets) != 2 || current.Annotations[RevisionAnnotation] != "2" || current.Spec.Template.Spec.Containers[0].Image != "web:3" {
		t.Errorf("gone on: %d sets, the newest with revision %s and image %s; want 2, revision 2, image web:3",
			len(w.sets), current.Annotations[RevisionAnnotation], current.Spec.Template.Spec.Containers[0].Image)
	}
}

// TestBornPaused holds that a Deployment that was never let go has no pods.
func TestBornPaused(t *testing.T) {
	w := newWorld(2, rolling(intstr.FromInt32(1), intstr.FromInt32(0)))
	w.d.Spec.Paused = true
	if w.step(); len(w.sets) != 0 {
		t.Errorf("got %d sets, want none", len(w.sets))
	}
}
