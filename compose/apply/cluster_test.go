package apply_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
)

func shop() *model.Project {
	return &model.Project{Name: "shop", Dir: "/src/shop", Services: []model.Service{
		{Name: "db", Image: "db", Scale: 1, Health: &model.Health{Test: []string{"CMD", "check"}}, StopGracePeriod: 10 * time.Second,
			Mounts: []model.Mount{{Kind: model.Named, Source: "shop_data", Target: "/data"}}, Configs: []model.FileRef{{Source: "conf", Target: "/conf"}}},
		{Name: "web", Image: "web", Scale: 2, Restart: model.Restart{Policy: "no"}, StopGracePeriod: 10 * time.Second,
			DependsOn: []model.Dependency{{Service: "db", Condition: "service_healthy", Required: true}},
			Ports:     []model.Port{{Published: "8000", Target: 80, Protocol: "tcp"}, {Published: "8000", Target: 80, Protocol: "udp", HostIP: "127.0.0.1"}},
			Secrets:   []model.FileRef{{Source: "pass", Target: "/run/secrets/pass"}}},
	},
		Volumes: map[string]model.Volume{"data": {Name: "shop_data"}},
		Configs: map[string]model.File{"conf": {Name: "conf", Content: []byte("a: b\n")}},
		Secrets: map[string]model.File{"pass": {Name: "pass", Content: []byte{0, 1, 2}}},
	}
}

func newCluster(t *testing.T) *apply.Cluster {
	t.Helper()
	c, err := apply.NewCluster(apiservertest.New(t).Client(t, "compose", api.GroupCompose))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func upPlan(t *testing.T, c *apply.Cluster, p *model.Project) *plan.Plan {
	t.Helper()
	state, err := c.State(t.Context(), "shop", apply.Everything())
	if err != nil {
		t.Fatal(err)
	}
	pl, err := plan.Up(p, state, plan.Options{VolumeRoot: "/volumes", Images: map[string]plan.Image{"docker.io/library/web:latest": {ID: "sha256:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

// carry does what Up does but the waiting: there is nobody here who would start containers.
func carry(t *testing.T, c *apply.Cluster, p *model.Project, pl *plan.Plan) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := apply.Up(ctx, c, p, pl, apply.UpOptions{OnStart: cancel}, func(apply.Event) {})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestApplyTwice carries a plan out on the real API server: the second plan must find nothing to do, whatever the server has filled in.
func TestApplyTwice(t *testing.T) {
	c, p := newCluster(t), shop()
	first := upPlan(t, c, p)
	if len(first.Steps) != 8 {
		t.Errorf("first plan:\n%s", first)
	}
	carry(t, c, p, first)
	if second := upPlan(t, c, p); !second.Empty() {
		t.Errorf("the second plan is not empty:\n%s", second)
	}
	p.Services[1].Env = map[string]*string{"A": new(string)}
	p.Services[1].Scale = 3
	changed := upPlan(t, c, p)
	if len(changed.Steps) != 1 || changed.Steps[0].Why != "configuration changed" {
		t.Errorf("after a change of one service:\n%s", changed)
	}
	carry(t, c, p, changed)
	if again := upPlan(t, c, p); !again.Empty() {
		t.Errorf("after applying the change:\n%s", again)
	}
}

// TestInterrupted stops after each single step: the next plan must have exactly the rest.
func TestInterrupted(t *testing.T) {
	p := shop()
	whole := upPlan(t, newCluster(t), p)
	c := newCluster(t)
	for done := range len(whole.Steps) {
		rest := upPlan(t, c, p)
		if got, want := len(rest.Steps), len(whole.Steps)-done; got != want {
			t.Fatalf("after %d of %d steps %d are left:\n%s", done, len(whole.Steps), got, rest)
		}
		rest.Steps = rest.Steps[:1]
		carry(t, c, p, rest)
	}
	if last := upPlan(t, c, p); !last.Empty() {
		t.Errorf("in the end:\n%s", last)
	}
}

func TestClusterVerbs(t *testing.T) {
	c, p := newCluster(t), shop()
	ctx := t.Context()
	carry(t, c, p, upPlan(t, c, p))
	list, err := c.Projects(ctx)
	if err != nil || len(list) != 1 || list[0].Labels[api.LabelProject] != "shop" {
		t.Errorf("projects: %v %v", list, err)
	}
	other, err := c.State(ctx, "elsewhere", apply.Everything())
	if err != nil || len(other.Taken) != 2 || other.Taken[0].By != "service web of project shop" || other.Taken[1].HostIP != "127.0.0.1" {
		t.Errorf("taken ports: %+v %v", other, err)
	}
	if err := c.Delete(ctx, "ConfigMap", "shop", "none", nil); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	if err := c.Patch(ctx, "Deployment", "shop", "none", []byte(`{}`)); !apierrors.IsNotFound(err) {
		t.Errorf("patch what is not there: %v", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.WaitGone(ctx, "ConfigMap", "shop", "conf-config") }()
	if err := c.Delete(ctx, "ConfigMap", "shop", "conf-config", nil); err != nil {
		t.Error(err)
	}
	if err := <-gone; err != nil {
		t.Errorf("wait for a deletion: %v", err)
	}
}

func TestWatchPods(t *testing.T) {
	c, p := newCluster(t), shop()
	ctx := t.Context()
	carry(t, c, p, upPlan(t, c, p))
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{api.LabelNumber: "7"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	}
	if err := c.Create(ctx, pod("one")); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(ctx, pod("one")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create twice: %v", err)
	}
	var seen []string
	none := int64(0)
	err := c.WatchPods(ctx, "shop", func(e apply.PodEvent) bool {
		switch {
		case e.Synced:
			seen = append(seen, "synced")
			if err := c.Create(ctx, pod("two")); err != nil {
				t.Error(err)
			}
			if err := c.Delete(ctx, "Pod", "shop", "two", &none); err != nil {
				t.Error(err)
			}
		case e.Deleted:
			seen = append(seen, "-"+e.Pod.Name)
			return false
		default:
			seen = append(seen, "+"+e.Pod.Name)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"+one", "synced", "+two", "-two"}
	if len(seen) < 4 || seen[0] != want[0] || seen[1] != want[1] || seen[2] != want[2] || seen[len(seen)-1] != want[3] {
		t.Errorf("got %v, want %v", seen, want)
	}
}
