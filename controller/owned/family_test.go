package owned_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/controller/owned"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
)

// sink collects events as "Type Reason Message".
type sink struct {
	mu  sync.Mutex
	got []string
}

func (s *sink) add(kind, reason, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, kind+" "+reason+" "+fmt.Sprintf(format, args...))
}

func (s *sink) Normal(_ kube.Object, reason, format string, args ...any) {
	s.add("Normal", reason, format, args...)
}

func (s *sink) Warning(_ kube.Object, reason, format string, args ...any) {
	s.add("Warning", reason, format, args...)
}

// count is how many events begin like this.
func (s *sink) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.got {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// home is a ReplicaSet on the real API server, with no controller running.
type home struct {
	*kubetest.Interceptor
	family owned.Family[*corev1.Pod]
	events *sink
	set    *appsv1.ReplicaSet
}

func newHome(t *testing.T, faults ...kubetest.Fault) (context.Context, *home) {
	server := apiservertest.New(t, apiservertest.Options{Bare: true})
	admin := local.New(server.Server, authn.User{Name: "admin", Groups: []string{"system:masters"}}, slog.New(slog.DiscardHandler))
	h := &home{Interceptor: kubetest.Intercept(admin), events: &sink{}}
	h.family = owned.Family[*corev1.Pod]{Deps: loop.Deps{Cluster: h, Clock: clock.RealClock{}, Events: h.events},
		Owner: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), Owners: kube.ReplicaSets, Dependents: kube.Pods, Noun: "pod"}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	h.make(t, ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	h.set = h.make(t, ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template}}).(*appsv1.ReplicaSet)
	h.Log()
	h.Fail(faults...)
	return ctx, h
}

func (h *home) make(t *testing.T, ctx context.Context, obj kube.Object) kube.Object {
	t.Helper()
	out, err := h.Create(ctx, obj)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pods are count pods that the set's template makes.
func (h *home) pods(count int) []*corev1.Pod {
	out := make([]*corev1.Pod, count)
	for i := range out {
		out[i] = owned.PodFor(h.set, h.family.Owner, &h.set.Spec.Template)
	}
	return out
}

// orphan is a pod that nobody owns.
func (h *home) orphan(name string) *corev1.Pod {
	pod := h.pods(1)[0]
	pod.GenerateName, pod.Name, pod.OwnerReferences = "", name, nil
	return pod
}

func (h *home) claim(ctx context.Context) ([]*corev1.Pod, error) {
	return h.family.Claim(ctx, h.set, labels.SelectorFromSet(labels.Set{"app": "web"}), owned.Unfinished)
}

func TestCreateStartsSlowly(t *testing.T) {
	for _, c := range []struct{ fails, tried int }{{1, 1}, {2, 3}, {3, 3}, {4, 7}, {7, 7}, {8, 10}} {
		t.Run(fmt.Sprintf("request %d fails", c.fails), func(t *testing.T) {
			ctx, h := newHome(t, kubetest.Fault{Verb: "create", Resource: "pods", Nth: c.fails, Err: kubetest.Refused("pods")})
			err := h.family.Create(ctx, h.set, h.pods(10))
			if !apierrors.IsForbidden(err) {
				t.Errorf("got %v, want the server's own error", err)
			}
			log := h.Log()
			if got := strings.Count(log, "create pods web-*"); got != c.tried {
				t.Errorf("%d requests, want %d (batches of 1, 2, 4, ...):\n%s", got, c.tried, log)
			}
			if made, failed := h.events.count("Normal SuccessfulCreate Created pod: web-"), h.events.count("Warning FailedCreate Error creating: pods"); made != c.tried-1 || failed != 1 {
				t.Errorf("events: %d made and %d failed, want %d and 1: %q", made, failed, c.tried-1, h.events.got)
			}
		})
	}
}

func TestCreateInANamespaceThatEnds(t *testing.T) {
	ending := apierrors.NewForbidden(kube.Pods.GroupResource(), "", fmt.Errorf("the namespace ends"))
	ending.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	ctx, h := newHome(t, kubetest.Fault{Verb: "create", Err: ending})
	if err := h.family.Create(ctx, h.set, h.pods(3)); err != nil || len(h.events.got) != 0 {
		t.Errorf("got %v and events %q, want neither", err, h.events.got)
	}
}

func TestDelete(t *testing.T) {
	ctx, h := newHome(t)
	if err := h.family.Create(ctx, h.set, h.pods(3)); err != nil {
		t.Fatal(err)
	}
	own, err := h.claim(ctx)
	if err != nil || len(own) != 3 {
		t.Fatalf("claimed %d pods (%v), want 3", len(own), err)
	}
	h.Fail(kubetest.Fault{Verb: "delete", Nth: 2, Err: kubetest.Unavailable()})
	if err := h.family.Delete(ctx, h.set, own); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v, want the server's own error", err)
	}
	if gone, failed := h.events.count("Normal SuccessfulDelete Deleted pod: web-"), h.events.count("Warning FailedDelete Error deleting: "); gone != 2 || failed != 1 {
		t.Errorf("events: %q, want two deleted and one failed", h.events.got)
	}
	h.Heal()
	if err := h.family.Delete(ctx, h.set, own); err != nil {
		t.Errorf("again, with two that are gone already: %v", err)
	}
}

func TestAdoptAndRelease(t *testing.T) {
	ctx, h := newHome(t)
	h.make(t, ctx, h.orphan("orphan"))
	strange := h.orphan("strange")
	strange.Labels = map[string]string{"app": "other"}
	strange.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(h.set, h.family.Owner)}
	h.make(t, ctx, strange)
	h.Log()
	own, err := h.claim(ctx)
	if err != nil || len(own) != 1 || own[0].Name != "orphan" || !metav1.IsControlledBy(own[0], h.set) {
		t.Errorf("claimed %v (%v), want the orphan, as the set's own", own, err)
	}
	lines := strings.Split(h.Log(), "\n")
	slices.Sort(lines)
	if got := strings.Join(lines, "; "); got != "patch pods orphan; patch pods strange" {
		t.Errorf("writes: %s", got)
	}
	if pod, _ := kube.Get[*corev1.Pod](h, kube.Pods, "default", "strange"); len(pod.OwnerReferences) != 0 {
		t.Error("the relabelled pod still names the set")
	}
	if _, err := h.claim(ctx); err != nil || h.Log() != "" {
		t.Error("claiming again wrote something")
	}
}

func TestAdoptionThatLosesARace(t *testing.T) {
	ctx, h := newHome(t, kubetest.Fault{Verb: "patch", Err: kubetest.Conflict("pods", "orphan")})
	h.make(t, ctx, h.orphan("orphan"))
	if own, err := h.claim(ctx); !apierrors.IsConflict(err) || own != nil {
		t.Errorf("got %v and %v, want a conflict and no claims", own, err)
	}
	if len(h.events.got) != 0 {
		t.Errorf("events %q, want none: nothing failed to be created", h.events.got)
	}
}

func TestOwnerThatWasMadeAnewAdoptsNothing(t *testing.T) {
	ctx, h := newHome(t)
	h.make(t, ctx, h.orphan("orphan"))
	h.Log()
	h.set = h.set.DeepCopy()
	h.set.UID = "of-the-one-before"
	if own, err := h.claim(ctx); err == nil || own != nil {
		t.Errorf("got %v and %v, want an error and no claims", own, err)
	}
	if log := h.Log(); log != "" {
		t.Errorf("wrote %s, want nothing", log)
	}
}

func TestStatusIsWrittenOnChangeOnly(t *testing.T) {
	ctx, h := newHome(t)
	after := h.set.DeepCopy()
	if err := h.family.WriteStatus(ctx, h.set, after); err != nil || h.Log() != "" {
		t.Errorf("an equal status was written (%v)", err)
	}
	after.Status.Replicas = 3
	if err := h.family.WriteStatus(ctx, h.set, after); err != nil || h.Log() != "update status replicasets web" {
		t.Errorf("a changed status was not written (%v)", err)
	}
}
