package plan

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/cuppa-project/cuppa/compose/model"
)

// TestBadExtrasAreFoundFirst holds that what the engine would refuse is found before anything is changed, and is said in the file's words.
func TestBadExtrasAreFoundFirst(t *testing.T) {
	p := &model.Project{Name: "shop", Services: []model.Service{{Name: "web", Image: "web", StopSignal: "SIGFLY",
		Ulimits: map[string]model.Ulimit{"nofile": {Soft: 2, Hard: 1}, "wings": {}}, Devices: []string{"fuse"}}}}
	_, err := Up(p, &State{}, Options{})
	want := `service "web": devices[0].host: fuse: must be an absolute path on the node
service "web": devices[0].path: fuse: must be an absolute path in the container
service "web": stopSignal: SIGFLY: must be a signal's name or number
service "web": ulimits[nofile].soft: 2: must not be above the hard limit, 1
service "web": ulimits[wings]: wings: must be one of `
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s...", err, want)
	}
}

// TestOlderVersionsAreReplaced holds that `up` renews what an older version made, whose wishes this engine does not read any more.
func TestOlderVersionsAreReplaced(t *testing.T) {
	p := &model.Project{Name: "shop", Services: []model.Service{{Name: "web", Image: "web", Scale: 1, User: "app"}}}
	first, err := Up(p, &State{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range first.Steps {
		d, ok := step.Object.(*appsv1.Deployment)
		if !ok {
			continue
		}
		state := &State{Deployments: []*appsv1.Deployment{d}}
		if got := difference(d.Spec.Template.Annotations, d.Spec.Template.Annotations, false); got != "" {
			t.Errorf("nothing changed: got %q", got)
		}
		d.Spec.Template.Annotations["engine.cuppa.dev/user"] = "app"
		again, err := Up(p, state, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Containers) != 1 || again.Containers[0].Change == Keep {
			t.Errorf("of an older version: got %+v, want it replaced", again.Containers)
		}
		return
	}
	t.Fatal("no deployment in the plan")
}
