package compose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type runFlags struct {
	detach, rm, noDeps, noTTY, interactive, build, quiet, servicePorts bool
	entrypoint, user, workdir, name                                    string
	env, labels, volumes, publish                                      []string
}

func run(s *session) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{Use: "run [OPTIONS] SERVICE [COMMAND] [ARGS...]", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.run(cmd.Context(), args[0], args[1:], &f, cmd.Flags().Changed("entrypoint"))
	}}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.detach, "detach", "d", false, "Run container in background and print container ID")
	fl.BoolVar(&f.rm, "rm", false, "Automatically remove the container when it exits")
	fl.BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	fl.BoolVarP(&f.noTTY, "no-TTY", "T", false, "Disable pseudo-TTY allocation")
	fl.BoolVarP(&f.interactive, "interactive", "i", true, "Keep STDIN open even if not attached")
	fl.BoolVar(&f.build, "build", false, "Build image before starting container")
	fl.BoolVar(&f.quiet, "quiet-pull", false, "Pull without printing progress information")
	fl.BoolVarP(&f.servicePorts, "service-ports", "P", false, "Accepted: one-off containers publish no ports")
	noEffect(fl, "use-aliases", "one-off containers have no names in the network")
	fl.StringVar(&f.entrypoint, "entrypoint", "", "Override the entrypoint of the image")
	fl.StringVarP(&f.user, "user", "u", "", "Run as specified username or uid")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "Working directory inside the container")
	fl.StringVar(&f.name, "name", "", "Assign a name to the container")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "Set environment variables")
	fl.StringArrayVarP(&f.labels, "label", "l", nil, "Add or override a label")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "Bind mount a volume")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "Accepted: one-off containers publish no ports")
	noEffect(fl, "remove-orphans", "`up` removes orphans")
	return cmd
}

// run starts the service's dependencies, then one container of its own beside them, and takes its exit code.
func (s *session) run(ctx context.Context, service string, argv []string, f *runFlags, entry bool) error {
	if f.servicePorts || len(f.publish) > 0 {
		s.warn("run: publishing ports of one-off containers is not supported and is ignored")
	}
	r, err := s.load(ctx, []string{service})
	if err != nil {
		return err
	}
	svc, _ := r.Project.Service(service)
	override(svc, argv, f, entry)
	ready, err := s.surroundings(ctx, r, svc, f)
	if err != nil {
		return err
	}
	images, err := s.images(ctx, r.Project, []string{service}, nil)
	if err != nil {
		return err
	}
	name := f.name
	if name == "" {
		id := make([]byte, 6)
		if _, err := rand.Read(id); err != nil {
			return err
		}
		name = fmt.Sprintf("%s-%s-run-%s", plan.NamespaceName(r.Project.Name), plan.ObjectName(service), hex.EncodeToString(id))
	}
	pod, err := plan.OneOff(r.Project, service, name, plan.Options{Images: images, VolumeRoot: s.DataDir() + "/volumes"})
	if err != nil {
		return err
	}
	interactive := f.interactive && s.Streams.InTerminal() >= 0 && !f.detach
	reads := interactive || f.interactive && !f.detach && s.Streams.InPiped()
	pod.Spec.Containers[0].Stdin, pod.Spec.Containers[0].StdinOnce = reads, reads
	pod.Spec.Containers[0].TTY = interactive && !f.noTTY
	fmt.Fprintf(s.Streams.Err, "Container %s Creating\n", name)
	if err := ready.Create(ctx, pod); err != nil {
		return fmt.Errorf("create container %s: %w", name, err)
	}
	fmt.Fprintf(s.Streams.Err, "Container %s Created\n", name)
	return s.runPod(ctx, ready, pod, f, interactive)
}

// override applies the command line to the service.
func override(svc *model.Service, argv []string, f *runFlags, entry bool) {
	if entry {
		words := strings.Fields(f.entrypoint)
		svc.Entrypoint, svc.Command = &words, nil
	}
	if len(argv) > 0 {
		svc.Command = &argv
	}
	if f.user != "" {
		svc.User = f.user
	}
	if f.workdir != "" {
		svc.WorkingDir = f.workdir
	}
	for _, e := range f.env {
		name, value, _ := strings.Cut(e, "=")
		if svc.Env == nil {
			svc.Env = map[string]*string{}
		}
		svc.Env[name] = &value
	}
	for _, l := range f.labels {
		name, value, _ := strings.Cut(l, "=")
		if svc.Labels == nil {
			svc.Labels = map[string]string{}
		}
		svc.Labels[name] = value
	}
	for _, v := range f.volumes {
		parts := strings.Split(v, ":")
		if len(parts) >= 2 && strings.HasPrefix(parts[0], "/") {
			svc.Mounts = append(svc.Mounts, model.Mount{Kind: model.Bind, Source: parts[0], Target: parts[1], ReadOnly: len(parts) > 2 && parts[2] == "ro"})
		}
	}
}

// surroundings makes the images, the namespace and the dependencies of a one-off container.
func (s *session) surroundings(ctx context.Context, r *load.Result, svc *model.Service, f *runFlags) (apply.Target, error) {
	var deps []string
	for _, d := range svc.DependsOn {
		deps = append(deps, d.Service)
	}
	flags := &upFlags{detach: true, build: f.build, quietPull: f.quiet, noDeps: f.noDeps}
	// Without dependencies the plan is for none of the services, but its images and its namespace are needed all the same.
	opts := plan.Options{Services: deps}
	if f.noDeps || len(deps) == 0 {
		opts = plan.Options{Services: []string{svc.Name}, NoDeps: true, NoStart: true, NoRecreate: true}
	}
	ready, err := s.prepare(ctx, r, []string{svc.Name}, flags, opts)
	if err != nil {
		return nil, err
	}
	if f.noDeps || len(deps) == 0 {
		ready.plan.Steps = slices.DeleteFunc(ready.plan.Steps, func(st plan.Step) bool {
			return st.Kind != "Namespace" && st.Kind != "ConfigMap" && st.Kind != "Secret"
		})
		ready.plan.Containers = nil
	}
	return ready.target, s.carryOut(ctx, ready, flags)
}

// runPod waits for a one-off container, shows its output, and takes its exit code.
func (s *session) runPod(ctx context.Context, target apply.Target, pod *corev1.Pod, f *runFlags, interactive bool) error {
	var last *corev1.Pod
	wait := func(until func(*corev1.Pod) bool) error {
		return target.WatchPods(ctx, pod.Namespace, func(e apply.PodEvent) bool {
			if e.Pod == nil || e.Pod.Name != pod.Name {
				return true
			}
			last = e.Pod
			return !e.Deleted && !until(e.Pod)
		})
	}
	var broken error
	started := func(p *corev1.Pod) bool {
		if _, text := apply.Trouble(p); text != "" {
			broken = errkind.New(errkind.Invalid, "container %s: %s", p.Name, text)
			return true
		}
		_, over := apply.ExitCode(p)
		_, running := apply.RunningSince(p)
		return running || over
	}
	if err := wait(started); err != nil {
		return err
	}
	if last == nil {
		return errkind.New(errkind.Unavailable, "container %s: it was not seen to start", pod.Name)
	}
	remove := func() error {
		if !f.rm {
			return nil
		}
		return target.Delete(context.WithoutCancel(ctx), "Pod", pod.Namespace, pod.Name, nil)
	}
	if broken != nil {
		return errors.Join(broken, remove())
	}
	if !started(last) || len(last.Status.ContainerStatuses) == 0 {
		return errkind.New(errkind.Precondition, "container %s: it ended before it had started%s", pod.Name, because(last))
	}
	if f.detach {
		_, id, _ := strings.Cut(last.Status.ContainerStatuses[0].ContainerID, "://")
		fmt.Fprintln(s.Streams.Out, id)
		return nil
	}
	if err := s.showPod(ctx, target, last, interactive); err != nil {
		return errors.Join(err, remove())
	}
	over := func(p *corev1.Pod) bool { _, over := apply.ExitCode(p); return over }
	if err := wait(over); err != nil {
		return errors.Join(err, remove())
	}
	code, ended := apply.ExitCode(last)
	if err := remove(); err != nil {
		return err
	}
	if !ended {
		return errkind.New(errkind.Precondition, "container %s was removed while it ran", pod.Name)
	}
	if code != 0 {
		return &Exit{Code: int(code)}
	}
	return nil
}

// because is what a pod's status says about its end, as the last part of a message.
func because(pod *corev1.Pod) string {
	if pod.Status.Message == "" {
		return ""
	}
	return ": " + pod.Status.Message
}

// showPod attaches to a container that reads from the terminal; of any other the log is enough, and has the beginning too. What is piped in is
// passed on beside it.
func (s *session) showPod(ctx context.Context, target apply.Target, pod *corev1.Pod, interactive bool) error {
	_, running := apply.RunningSince(pod)
	if !running || !pod.Spec.Containers[0].Stdin {
		return s.showLog(ctx, target, pod)
	}
	_, config, err := s.Connect()
	if err != nil {
		return err
	}
	if !interactive {
		feedCtx, stop := context.WithCancel(ctx)
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			// A container that does not read to the end is none of our business.
			_ = s.stream(feedCtx, config, streamOptions{pod: pod, verb: "attach", in: true, mute: true})
		}()
		err := s.showLog(ctx, target, pod)
		stop()
		<-fed
		return err
	}
	err = s.stream(ctx, config, streamOptions{pod: pod, verb: "attach", in: true, tty: pod.Spec.Containers[0].TTY})
	var exit *Exit
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (s *session) showLog(ctx context.Context, target apply.Target, pod *corev1.Pod) error {
	return readLog(ctx, target, pod, corev1.PodLogOptions{Follow: true}, func(_, text string) { fmt.Fprintln(s.Streams.Out, text) })
}
