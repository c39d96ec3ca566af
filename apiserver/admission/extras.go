package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// engineExtras keeps what only Compose may ask of a node's engine (devices, users, raw limits) out of everybody else's pods. It looks at what is
// about to be stored, so it does not matter by which verb, patch or subresource it came.
//
// A pod gets its annotations from a person, or from a controller that copies a template. So templates are held to the same rule, wherever they
// are in an object; and a controller may copy exactly what the template of the pod's own controller says, which somebody was allowed to write.
type engineExtras struct {
	reader    Reader
	templates templates
}

func (p *engineExtras) validate(ctx context.Context, req *Request) error {
	if req.Object == nil {
		return p.body(ctx, req)
	}
	before := map[string]carrier{}
	for _, c := range p.carriers(req.Old) {
		before[c.at] = c
	}
	for _, now := range p.carriers(req.Object) {
		old := before[now.at]
		delete(before, now.at)
		if err := p.judge(ctx, req, old, now); err != nil {
			return err
		}
	}
	// A template that was taken out took its wishes along.
	for _, at := range slices.Sorted(maps.Keys(before)) {
		if err := p.judge(ctx, req, before[at], carrier{at: at}); err != nil {
			return err
		}
	}
	return nil
}

// body looks at what is posted to a subresource: the annotations of a Binding become the pod's.
func (p *engineExtras) body(ctx context.Context, req *Request) error {
	posted, ok := req.Body.(metav1.Object)
	if !ok || len(posted.GetAnnotations()) == 0 {
		return nil
	}
	return p.judge(ctx, req, carrier{}, carrier{at: podAnnotations, annotations: posted.GetAnnotations()})
}

// judge decides about one place that carries annotations of a pod.
func (p *engineExtras) judge(ctx context.Context, req *Request, old, now carrier) error {
	changed := differing(old.annotations, now.annotations)
	if len(changed) > 0 && !p.may(ctx, req, now) {
		return p.refuse(req, old, now, changed[0])
	}
	if len(extras.Reserved(now.annotations)) == 0 || len(changed) == 0 && slices.Equal(old.containers, now.containers) {
		return nil
	}
	return p.check(req, now)
}

// may is true of Compose, and of controllers that copy.
func (p *engineExtras) may(ctx context.Context, req *Request, now carrier) bool {
	if req.User.In(api.GroupCompose) {
		return true
	}
	return req.Operation == Create && strings.HasPrefix(req.User.Name, controllers) && p.copied(ctx, req, now)
}

// controllers begins the names of the control plane's own loops.
const controllers = "system:controller:"

// copied is true if the object has a controller, one of whose templates has exactly these annotations. What memory does not have, or has
// otherwise, may just not have arrived there.
func (p *engineExtras) copied(ctx context.Context, req *Request, now carrier) bool {
	if req.Object == nil {
		return false
	}
	ref := metav1.GetControllerOf(req.Object)
	if ref == nil {
		return false
	}
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return false
	}
	resource, _ := meta.UnsafeGuessKindToResource(version.WithKind(ref.Kind))
	if p.same(p.reader.Get(resource, req.Namespace, ref.Name), ref, now) {
		return true
	}
	live, err := p.reader.Live(ctx, resource, req.Namespace, ref.Name)
	return err == nil && p.same(live, ref, now)
}

func (p *engineExtras) same(owner registry.Object, ref *metav1.OwnerReference, now carrier) bool {
	if owner == nil || owner.GetUID() != ref.UID {
		return false
	}
	return slices.ContainsFunc(p.carriers(owner), func(c carrier) bool {
		return c.at != podAnnotations && len(differing(c.annotations, now.annotations)) == 0
	})
}

// check holds a document to its rules, for the pod that it is on.
func (p *engineExtras) check(req *Request, now carrier) error {
	var faults field.ErrorList
	at := field.NewPath(now.at)
	for _, problem := range extras.Check(now.annotations, now.containers) {
		where := at.Key(api.AnnotationExtras)
		if problem.Field != "" {
			where = where.Child(problem.Field)
		}
		faults = append(faults, field.Invalid(where, problem.Value, problem.Detail))
	}
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(req.Kind.GVK.GroupKind(), req.Name, faults)
}

func (p *engineExtras) refuse(req *Request, old, now carrier, key string) error {
	did, asks := "set", now.annotations[key]
	switch {
	case old.annotations[key] != "" && asks == "":
		did, asks = "remove", old.annotations[key]
	case old.annotations[key] != "":
		did = "change"
	}
	what := ""
	if d, err := extras.Parse(asks); err == nil && !d.Empty() {
		what = " (" + d.Summary() + ")"
	}
	return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf(
		"%s[%s]: user %q may not %s what a pod asks of its node's engine%s: only `cuppa up` and `cuppa run` on a server's own machine may; say it in a Compose file, or leave the annotation as it is",
		now.at, key, req.User.Name, did, what))
}

// differing are the reserved annotations that are not the same on both sides, sorted.
func differing(a, b map[string]string) []string {
	var out []string
	for _, key := range slices.Compact(slices.Sorted(slices.Values(append(extras.Reserved(a), extras.Reserved(b)...)))) {
		was, had := a[key]
		is, has := b[key]
		if was != is || had != has {
			out = append(out, key)
		}
	}
	return out
}

// carrier is a place in an object that becomes, or is, a pod's annotations.
type carrier struct {
	at          string // "spec.template.metadata.annotations"
	annotations map[string]string
	containers  []string // names, init containers among them
}

const podAnnotations = "metadata.annotations"

// carriers finds all of them in an object.
func (p *engineExtras) carriers(obj registry.Object) []carrier {
	switch obj := obj.(type) {
	case nil:
		return nil
	case *corev1.Pod:
		if len(obj.Annotations) == 0 {
			return nil
		}
		return []carrier{{at: podAnnotations, annotations: obj.Annotations, containers: containerNames(&obj.Spec)}}
	}
	var out []carrier
	p.templates.visit(obj, func(at string, t *corev1.PodTemplateSpec) {
		out = append(out, carrier{at: at + "." + podAnnotations, annotations: t.Annotations, containers: containerNames(&t.Spec)})
	})
	return out
}

func containerNames(spec *corev1.PodSpec) []string {
	var names []string
	for i := range spec.InitContainers {
		names = append(names, spec.InitContainers[i].Name)
	}
	for i := range spec.Containers {
		names = append(names, spec.Containers[i].Name)
	}
	return names
}
