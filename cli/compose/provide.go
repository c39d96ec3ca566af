package compose

import (
	"context"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// listening are the wanted ports that other programs of this machine hold. Ports the project has already are not asked about: its node holds them.
func (s *session) listening(p *model.Project, names []string, state *plan.State) []plan.Taken {
	var ask []int32
	for _, name := range names {
		svc, _ := p.Service(name)
		for _, port := range svc.Ports {
			low, high, err := plan.PortRange(port.Published)
			if err != nil || low == 0 || low == high && held(state, low) {
				continue
			}
			for n := low; n <= high; n++ {
				ask = append(ask, n)
			}
		}
	}
	if len(ask) == 0 || s.Listening == nil {
		return nil
	}
	return slices.DeleteFunc(s.Listening(ask), func(t plan.Taken) bool {
		return slices.ContainsFunc(state.Taken, func(o plan.Taken) bool { return o.Port == t.Port && o.Protocol == t.Protocol })
	})
}

// held is true of a port that one of the project's Services publishes.
func held(state *plan.State, port int32) bool {
	for _, svc := range state.Services {
		if slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port }) {
			return svc.Spec.Type == corev1.ServiceTypeLoadBalancer
		}
	}
	return false
}

// freePorts asks the kernel for ports nobody uses, as many as the project publishes without a number.
func freePorts(p *model.Project) []int32 {
	var out []int32
	var held []net.Listener
	for _, s := range p.Services {
		for _, port := range s.Ports {
			if port.Published != "" && port.Published != "0" {
				continue
			}
			l, err := net.Listen("tcp", ":0")
			if err != nil {
				continue
			}
			held = append(held, l)
			out = append(out, int32(l.Addr().(*net.TCPAddr).Port))
		}
	}
	for _, l := range held {
		_ = l.Close() // nothing was ever sent over it
	}
	return out
}

// provide builds and pulls what is missing.
func (s *session) provide(ctx context.Context, needs []plan.Need, f *upFlags) error {
	var builds []build.Image
	var pulls []plan.Need
	for _, n := range needs {
		if n.Build == nil {
			pulls = append(pulls, n)
			continue
		}
		builds = append(builds, build.Image{Service: n.Service, Ref: n.Ref, Spec: n.Build, NoCache: n.Build.NoCache, Pull: n.Build.Pull})
	}
	if len(pulls) > 0 {
		if err := s.pullAll(ctx, pulls, f.quietPull, false); err != nil {
			return err
		}
	}
	if len(builds) == 0 {
		return nil
	}
	return s.buildAll(ctx, builds, f.quietBuild)
}

func (s *session) buildAll(ctx context.Context, builds []build.Image, quiet bool) error {
	for _, b := range builds {
		fmt.Fprintf(s.Streams.Err, "Image %s Building\n", plan.Familiar(b.Ref))
	}
	if err := s.Build(ctx, builds, build.Options{Progress: s.progress, Quiet: quiet}); err != nil {
		return err
	}
	for _, b := range builds {
		fmt.Fprintf(s.Streams.Err, "Image %s Built\n", plan.Familiar(b.Ref))
	}
	return nil
}

// pullAll pulls images one after another; with ignore a failure does not end it.
func (s *session) pullAll(ctx context.Context, pulls []plan.Need, quiet, ignore bool) error {
	p := s.begin("pull")
	defer p.end()
	var failed error
	for _, n := range pulls {
		object := "Image " + n.Name
		report := func(status string, state apply.State) {
			if !quiet || state == apply.Failed {
				p.event(apply.Event{Object: object, Status: status, State: state})
			}
		}
		report("Pulling", apply.Working)
		err := s.Engine.Pull(ctx, n.Ref, func(m socket.Message) {
			if m.ProgressDetail.Total > 0 && p.tty {
				report(fmt.Sprintf("Pulling %d%%", m.ProgressDetail.Current*100/m.ProgressDetail.Total), apply.Working)
			}
		})
		if err != nil {
			report("Error", apply.Failed)
			err = fmt.Errorf("service %q: %w", n.Service, err)
			if !ignore {
				return err
			}
			failed = err
			continue
		}
		report("Pulled", apply.Done)
	}
	return failed
}
