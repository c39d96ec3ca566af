package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// desired is everything the selected services need in the cluster.
type desired struct {
	namespace *corev1.Namespace
	objects   []Object // config maps, secrets, name Services
	workloads []workload
	published []*corev1.Service
	warnings  []string
	volumes   []string // real names of the project's own volumes
	problems  []string
}

// workload is one service's Deployment and whether it replaces running containers.
type workload struct {
	service    string
	deployment *appsv1.Deployment
	recreate   bool
	why        string
}

// builder carries what all parts of the mapping look at.
type builder struct {
	project *model.Project
	state   *State
	opts    Options
	out     *desired
	names   map[string][]string // host name -> services that answer to it
	free    []int32
}

func (b *builder) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.out.warnings, text) {
		b.out.warnings = append(b.out.warnings, text)
	}
}

func (b *builder) problem(format string, args ...any) {
	b.out.problems = append(b.out.problems, fmt.Sprintf(format, args...))
}

// Desired maps the services of the given names to objects.
func Desired(p *model.Project, state *State, names []string, opts Options) (*desired, error) {
	b := &builder{project: p, state: state, opts: opts, out: &desired{}, free: opts.FreePorts}
	b.hostNames()
	b.files(names)
	for _, name := range names {
		s, ok := p.Service(name)
		if !ok {
			return nil, errkind.New(errkind.NotFound, "no such service: %s", name)
		}
		b.service(s)
	}
	b.nameServices(names)
	if len(names) > 0 {
		b.namespace()
	}
	for name := range opts.Scale {
		if _, ok := p.Service(name); !ok {
			b.problem("no such service: %s", name)
		}
	}
	b.owned()
	if len(b.out.problems) > 0 {
		slices.Sort(b.out.problems)
		return nil, errkind.New(errkind.Invalid, "%s", strings.Join(b.out.problems, "\n"))
	}
	return b.out, nil
}

// owned refuses to put a project into a namespace that is not one of its own.
func (b *builder) owned() {
	have := b.state.Namespace
	if have == nil {
		return
	}
	want := labels(b.project.Name, "")
	for key, value := range want {
		if have.Labels[key] != value {
			b.problem("the namespace %q exists and does not belong to the project %q: choose another project name with -p", have.Name, b.project.Name)
			return
		}
	}
}

func (b *builder) namespace() {
	ns := &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: NamespaceName(b.project.Name), Labels: labels(b.project.Name, ""), Annotations: map[string]string{
			AnnotationWorkingDir: b.project.Dir, AnnotationFiles: strings.Join(b.project.Files, ","),
		}},
	}
	for _, key := range slices.Sorted(maps.Keys(b.project.Volumes)) {
		if v := b.project.Volumes[key]; !v.External {
			b.out.volumes = append(b.out.volumes, v.Name)
		}
	}
	// What the project once had stays on the list: `down -v` removes it all.
	if b.state.Namespace != nil {
		for _, name := range Volumes(b.state.Namespace) {
			if !slices.Contains(b.out.volumes, name) {
				b.out.volumes = append(b.out.volumes, name)
			}
		}
	}
	slices.Sort(b.out.volumes)
	if len(b.out.volumes) > 0 {
		list, _ := json.Marshal(b.out.volumes)
		ns.Annotations[AnnotationVolumes] = string(list)
	}
	stamp(ns)
	b.out.namespace = ns
}

// Volumes are the named volumes a project's namespace remembers.
func Volumes(ns *corev1.Namespace) []string {
	var names []string
	_ = json.Unmarshal([]byte(ns.Annotations[AnnotationVolumes]), &names)
	return names
}

// volumes notes the volumes that are in use for the first time.
func (p *Plan) volumes(project *model.Project, state *State, want *desired) {
	var had []string
	if state.Namespace != nil && state.Namespace.DeletionTimestamp == nil {
		had = Volumes(state.Namespace)
	}
	for _, v := range want.volumes {
		if !slices.Contains(had, v) {
			p.NewVolumes = append(p.NewVolumes, v)
		}
	}
}

// files makes the ConfigMaps and Secrets that the services mount.
func (b *builder) files(names []string) {
	configs, secrets := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		if s, ok := b.project.Service(name); ok {
			for _, ref := range s.Configs {
				configs[ref.Source] = true
			}
			for _, ref := range s.Secrets {
				secrets[ref.Source] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(configs)) {
		cm := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: b.meta(configName(key), ""),
			BinaryData: map[string][]byte{fileKey: b.project.Configs[key].Content}}
		stamp(cm)
		b.out.objects = append(b.out.objects, cm)
	}
	for _, key := range slices.Sorted(maps.Keys(secrets)) {
		sec := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: b.meta(secretName(key), ""),
			Type: corev1.SecretTypeOpaque, Data: map[string][]byte{fileKey: b.project.Secrets[key].Content}}
		stamp(sec)
		b.out.objects = append(b.out.objects, sec)
	}
}

// fileKey is the one key of the ConfigMaps and Secrets made here.
const fileKey = "content"

func configName(key string) string { return suffixed(label(key), "-config") }

func secretName(key string) string { return suffixed(label(key), "-secret") }

func (b *builder) meta(name, service string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: NamespaceName(b.project.Name), Labels: labels(b.project.Name, service)}
}

// service makes one service's Deployment and published Service.
func (b *builder) service(s *model.Service) {
	replicas := b.replicas(s)
	if s.ContainerName != "" && replicas > 1 {
		b.problem("The %q service is using the custom container name %q. Each container must have a unique name. "+
			"Remove the custom name to scale the service.", s.Name, s.ContainerName)
	}
	n := int32(replicas)
	name := ObjectName(s.Name)
	have, _ := b.state.find("Deployment", name).(*appsv1.Deployment)
	if have != nil && have.Labels[labelService] != s.Name {
		b.problem("the services %q and %q would both be called %q", s.Name, have.Labels[labelService], name)
	}
	image := b.opts.Images[ImageRef(b.project.Name, s)]
	template := b.template(s, image)
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: b.meta(name, s.Name),
		Spec: appsv1.DeploymentSpec{
			Selector:             &metav1.LabelSelector{MatchLabels: selector(b.project.Name, s.Name)},
			RevisionHistoryLimit: new(int32(3)),
		},
	}
	b.strategy(s, d)
	w := workload{service: s.Name, deployment: d}
	count := 0
	if have != nil {
		w.why = difference(have.Spec.Template.Annotations, template.Annotations, b.opts.ForceRecreate)
		w.recreate = w.why != ""
		count, _ = strconv.Atoi(have.Spec.Template.Annotations[annotationRecreate])
		if !w.recreate {
			template = *have.Spec.Template.DeepCopy()
		}
	}
	if w.recreate && b.opts.ForceRecreate {
		count++
	}
	if count > 0 {
		template.Annotations[annotationRecreate] = strconv.Itoa(count)
	}
	d.Annotations = b.shown(s, image)
	stamp(d)
	d.Spec.Template = template
	d.Spec.Replicas = &n
	b.out.workloads = append(b.out.workloads, w)
	b.publish(s)
}

// difference says why running containers have to be replaced, or "".
func difference(have, want map[string]string, force bool) string {
	switch {
	case have[annotationHash] != want[annotationHash]:
		return "configuration changed"
	case outdated(have):
		return "made by an older version"
	case want[annotationImageID] != "" && have[annotationImageID] != want[annotationImageID]:
		return "image changed"
	case force:
		return "asked to recreate"
	}
	return ""
}

// shown are the Deployment's annotations: for `ps` and for the order of `down`.
func (b *builder) shown(s *model.Service, image Image) map[string]string {
	look := Shown{Image: ImageName(b.project.Name, s), Ports: append(slices.Clone(s.Expose), image.Ports...)}
	entry, args := image.Entrypoint, image.Cmd
	if s.Entrypoint != nil {
		entry, args = *s.Entrypoint, nil
	}
	if s.Command != nil {
		args = *s.Command
	}
	look.Command = append(slices.Clone(entry), args...)
	slices.Sort(look.Ports)
	look.Ports = slices.Compact(look.Ports)
	data, _ := json.Marshal(look)
	out := map[string]string{AnnotationImageConfig: string(data)}
	var after []string
	for _, dep := range s.DependsOn {
		after = append(after, dep.Service)
	}
	if len(after) > 0 {
		list, _ := json.Marshal(after)
		out[AnnotationAfter] = string(list)
	}
	return out
}
