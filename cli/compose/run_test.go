package compose_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/apply/applytest"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// gone is a cluster in which one-off containers end as the test has it before they have a container.
type gone struct {
	*applytest.Fake
	end func(pod *corev1.Pod) []apply.PodEvent
}

func (g *gone) WatchPods(ctx context.Context, namespace string, fn func(apply.PodEvent) bool) error {
	state, err := g.Fake.State(ctx, namespace, apply.Parts{Pods: true})
	if err != nil {
		return err
	}
	for _, pod := range state.Pods {
		if strings.Contains(pod.Name, "job-run-") {
			pod = pod.DeepCopy()
			pod.Status = corev1.PodStatus{}
			for _, e := range g.end(pod) {
				if !fn(e) {
					return nil
				}
			}
		}
	}
	return nil
}

// TestRunNeverStarted: a one-off container that goes before it has a status ends in an error, whatever way it went.
func TestRunNeverStarted(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(pod *corev1.Pod) []apply.PodEvent
		want string
	}{
		{"deleted", func(pod *corev1.Pod) []apply.PodEvent { return []apply.PodEvent{{Pod: pod}, {Pod: pod, Deleted: true}} },
			": it ended before it had started"},
		{"refused by the node", func(pod *corev1.Pod) []apply.PodEvent {
			pod.Status.Phase, pod.Status.Message = corev1.PodFailed, "the node has no room"
			return []apply.PodEvent{{Pod: pod}}
		}, ": it ended before it had started: the node has no room"},
		{"not seen", func(*corev1.Pod) []apply.PodEvent { return nil }, ": it was not seen to start"},
	} {
		for _, args := range [][]string{{"run", "-d", "job"}, {"run", "--rm", "job"}} {
			t.Run(c.name+" "+args[1], func(t *testing.T) {
				w := newWorld(t, archive("compose.yaml", "services: {job: {image: a}}\n"))
				w.engine.images["a"] = "sha256:a"
				err := w.with(&gone{w.cluster, c.end}, args...)
				if err == nil || !strings.HasSuffix(err.Error(), c.want) {
					t.Errorf("got %v, want ...%q", err, c.want)
				}
			})
		}
	}
}

// with runs a command against another cluster than the world's own.
func (w *world) with(target apply.Target, args ...string) error {
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "cuppa", SilenceErrors: true, SilenceUsage: true, TraverseChildren: true}
	root.AddGroup(compose.Group())
	compose.Add(root, compose.Config{
		Streams: &streams.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Env: map[string]string{}}, Dir: w.dir, Env: map[string]string{},
		DataDir: func() string { return "/data" }, Engine: w.engine, Interrupts: w.interrupts,
		Connect: func() (apply.Target, *rest.Config, error) { return target, nil, nil },
		Load: func(ctx context.Context, opts load.Options) (*load.Result, error) {
			opts.Schema = specification.Findings
			return load.Load(ctx, opts)
		},
		Listening: func([]int32) []plan.Taken { return nil },
		Now:       func() time.Time { return w.cluster.Now },
	}, args)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	return root.ExecuteContext(w.t.Context())
}

func archive(name, content string) *txtar.Archive {
	return &txtar.Archive{Files: []txtar.File{{Name: name, Data: []byte(content)}}}
}
