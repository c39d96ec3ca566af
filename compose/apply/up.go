package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// UpOptions are the wishes that concern the carrying out.
type UpOptions struct {
	Wait    bool          // until the containers are ready, not only started
	Timeout time.Duration // for waiting; 0 is for ever
	// OnStart is called once the cluster has been told everything, before the wait.
	OnStart func()
}

// Up carries a plan out and waits until its containers have started.
func Up(ctx context.Context, t Target, project *model.Project, p *plan.Plan, opts UpOptions, report Report) error {
	if p.NewProject && len(p.Services) > 0 {
		if err := t.WaitGone(ctx, "Namespace", "", p.Namespace); err != nil && !p.Empty() {
			return fmt.Errorf("wait for the namespace %s: %w", p.Namespace, err)
		}
	}
	network := "Network " + p.Project + "_default"
	if p.NewProject {
		report(Event{Object: network, Status: "Creating"})
	}
	for _, group := range groups(p.Steps, project) {
		if err := carryOut(ctx, t, p.Namespace, group); err != nil {
			return err
		}
		if len(group) > 0 && group[0].Kind == "Namespace" {
			announce(p, network, report)
		}
	}
	if opts.OnStart != nil {
		opts.OnStart()
	}
	return settle(ctx, t, project, p, opts, report)
}

func announce(p *plan.Plan, network string, report Report) {
	if p.NewProject {
		report(Event{Object: network, Status: "Created", State: Done})
	}
	for _, v := range p.NewVolumes {
		report(Event{Object: "Volume " + v, Status: "Created", State: Done})
	}
}

// groups orders the steps: what a later group needs, an earlier one makes. Names must resolve before the first container asks for them.
//
// A service comes after those it depends on: once the cluster knows of the change of a service, it knows of the changes of its dependencies,
// and does not take a container that is about to be replaced for the one to wait for.
func groups(steps []plan.Step, project *model.Project) [][]plan.Step {
	const namespaces, names, pods, services = 0, 1, 2, 3
	levels := project.Levels(project.Names())
	level := map[string]int{}
	for i, list := range levels {
		for _, name := range list {
			level[plan.ObjectName(name)] = i
		}
	}
	last := services + max(len(levels), 1)
	out := make([][]plan.Step, last+1)
	for _, s := range steps {
		rank := services
		switch {
		case s.Verb == plan.Delete:
			rank = last
		case s.Verb == plan.DeletePod:
			rank = pods
		case s.Kind == "Namespace":
			rank = namespaces
		case s.Kind == "ConfigMap", s.Kind == "Secret", s.Kind == "Service":
			rank = names
		case s.Kind == "Deployment":
			rank = services + level[s.Name]
		}
		out[rank] = append(out[rank], s)
	}
	return out
}

// carryOut does the steps of a group at once and returns the first error in their order.
func carryOut(ctx context.Context, t Target, namespace string, steps []plan.Step) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, s := range steps {
		wg.Go(func() { errs[i] = do(ctx, t, namespace, s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func do(ctx context.Context, t Target, namespace string, s plan.Step) error {
	var err error
	switch s.Verb {
	case plan.Apply:
		err = t.Apply(ctx, s.Object)
	case plan.Scale:
		err = t.Patch(ctx, s.Kind, namespace, s.Name, scalePatch(s.Replicas, ""))
	case plan.DeletePod:
		err = t.Delete(ctx, "Pod", namespace, s.Name, s.Grace)
	case plan.Delete:
		err = t.Delete(ctx, s.Kind, namespace, s.Name, nil)
	default:
		err = errkind.New(errkind.Internal, "no such step: %s", s.Verb)
	}
	if err != nil {
		return fmt.Errorf("%s %s %s: %w", s.Verb, s.Kind, s.Name, err)
	}
	return nil
}

// scalePatch sets the replicas, and what `stop` remembers of them; "" forgets it.
func scalePatch(replicas int32, stopped string) []byte {
	note := any(nil)
	if stopped != "" {
		note = stopped
	}
	// Encoding plain maps cannot fail.
	data, _ := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{api.AnnotationStoppedReplicas: note, plan.AnnotationStopped: nil}},
		"spec":     map[string]any{"replicas": replicas},
	})
	return data
}

// settle reports the containers' fates until all have come true.
func settle(ctx context.Context, t Target, project *model.Project, p *plan.Plan, opts UpOptions, report Report) error {
	tr := newTracker(project, p, opts.Wait, report)
	if tr.settled() {
		return nil
	}
	if opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, opts.Timeout, errkind.New(errkind.Unavailable, "timeout waiting for the containers after %s", opts.Timeout))
		defer cancel()
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	events := make(chan PodEvent)
	ended := make(chan error, 1)
	go func() {
		ended <- t.WatchPods(watchCtx, p.Namespace, func(e PodEvent) bool {
			select {
			case events <- e:
				return true
			case <-watchCtx.Done():
				return false
			}
		})
	}()
	defer func() {
		stop()
		<-ended
	}()
	// What is overdue is found by time, not by an event: a sick container tells nothing.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-events:
			tr.observe(e)
		case <-tick.C:
			tr.overdue(time.Now())
		case err := <-ended:
			ended <- nil
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				err = errkind.New(errkind.Internal, "the watch ended by itself")
			}
			return fmt.Errorf("watch the containers: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if tr.settled() {
			return tr.err()
		}
	}
}
