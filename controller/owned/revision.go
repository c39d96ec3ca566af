package owned

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

// TemplateHash names a pod template. Collisions sets equal hashes of different templates apart.
func TemplateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	data, _ := json.Marshal(template) // a template came from JSON or protobuf, so it cannot fail
	return hash(data, collisions)
}

func hash(data []byte, collisions *int32) string {
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// HashLabel is where a ControllerRevision says which content it holds.
const HashLabel = appsv1.ControllerRevisionHashLabelKey

// History is how an owner's past looks, and what to do to it: one ControllerRevision for each content that it ever had. It is a value.
type History struct {
	Create  *appsv1.ControllerRevision   // of the present content, if there is none
	Update  *appsv1.ControllerRevision   // an old one of the present content, with a new number: a roll-back
	Delete  []*appsv1.ControllerRevision // beyond the limit, oldest first
	Current string                       // name of the present one
}

// Past is what History is decided from.
type Past struct {
	Owner      metav1.Object
	Kind       schema.GroupVersionKind
	Content    []byte            // what a revision keeps, as JSON: for pods, a patch with the template
	Labels     map[string]string // of the owner's selector, so that revisions are found
	Collisions *int32
	Revisions  []*appsv1.ControllerRevision // the owner's own
	InUse      map[string]bool              // names that pods still have; they are kept
	Limit      *int32                       // how many that are not in use are kept; nil: 10
}

// Decide says which revision is the present one, and how history follows.
func (p Past) Decide() History {
	var h History
	sorted := slices.Clone(p.Revisions)
	slices.SortFunc(sorted, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	next := int64(1)
	if n := len(sorted); n > 0 {
		next = sorted[n-1].Revision + 1
	}
	same := slices.IndexFunc(sorted, func(r *appsv1.ControllerRevision) bool { return bytes.Equal(r.Data.Raw, p.Content) })
	switch {
	case same < 0:
		h.Create = p.revision(next)
		h.Current = h.Create.Name
	case same == len(sorted)-1:
		h.Current = sorted[same].Name
	default:
		h.Update = sorted[same].DeepCopy()
		h.Update.Revision = next
		h.Current = h.Update.Name
	}
	var spare []*appsv1.ControllerRevision
	for _, r := range sorted {
		if r.Name != h.Current && !p.InUse[r.Name] {
			spare = append(spare, r)
		}
	}
	h.Delete = spare[:max(0, len(spare)-int(ptr.Deref(p.Limit, 10)))]
	return h
}

func (p Past) revision(number int64) *appsv1.ControllerRevision {
	sum := hash(p.Content, p.Collisions)
	set := maps.Clone(p.Labels)
	if set == nil {
		set = map[string]string{}
	}
	set[HashLabel] = sum
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Owner.GetName() + "-" + sum, Namespace: p.Owner.GetNamespace(), Labels: set,
			Annotations:     maps.Clone(p.Owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.Owner, p.Kind)},
		},
		Data:     runtime.RawExtension{Raw: p.Content},
		Revision: number,
	}
}
