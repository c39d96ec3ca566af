package apply_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/apply/applytest"
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

// TestTargets holds the real cluster and the one in memory against the same rules.
func TestTargets(t *testing.T) {
	t.Run("memory", func(t *testing.T) { applytest.Run(t, func(*testing.T) apply.Target { return applytest.New() }) })
	t.Run("cluster", func(t *testing.T) { applytest.Run(t, func(t *testing.T) apply.Target { return newCluster(t) }) })
}

func TestProjects(t *testing.T) {
	c, p := newCluster(t), shop()
	carry(t, c, p, upPlan(t, c, p))
	list, err := c.Projects(t.Context())
	if err != nil || len(list) != 1 || list[0].Labels[api.LabelProject] != "shop" {
		t.Errorf("projects: %v %v", list, err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
}
