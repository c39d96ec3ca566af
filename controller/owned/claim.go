package owned

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/kube"
)

// Claims says which objects are an owner's, and which references have to change for that.
type Claims[T kube.Object] struct {
	Own     []T // controlled by the owner and matched by its selector, in the order given
	Adopt   []T // orphans that the selector matches; they are not among Own
	Release []T // controlled by the owner, but no longer matched
}

// String lists what is to change.
func (c Claims[T]) String() string {
	var out []string
	for _, obj := range c.Adopt {
		out = append(out, "adopt "+obj.GetName())
	}
	for _, obj := range c.Release {
		out = append(out, "release "+obj.GetName())
	}
	return strings.Join(out, "; ")
}

// Changes says whether there is anything to adopt or release.
func (c Claims[T]) Changes() bool { return len(c.Adopt)+len(c.Release) > 0 }

// Claim sorts objects by what they are to the owner. An owner that is being deleted, and an object that is, get and are no new relation; nor is an
// orphan adopted that wanted refuses (nil: none is refused).
func Claim[T kube.Object](owner metav1.Object, selector labels.Selector, objs []T, wanted func(T) bool) Claims[T] {
	var c Claims[T]
	for _, obj := range objs {
		matches := selector.Matches(labels.Set(obj.GetLabels()))
		switch controller := metav1.GetControllerOfNoCopy(obj); {
		case controller != nil && controller.UID != owner.GetUID():
		case controller != nil && matches:
			c.Own = append(c.Own, obj)
		case controller != nil:
			if owner.GetDeletionTimestamp() == nil {
				c.Release = append(c.Release, obj)
			}
		case matches && owner.GetDeletionTimestamp() == nil && obj.GetDeletionTimestamp() == nil && (wanted == nil || wanted(obj)):
			c.Adopt = append(c.Adopt, obj)
		}
	}
	return c
}

// adoption is the patch that makes an owner an object's controller. The UID in it makes sure that it is still the same object.
func adoption(obj kube.Object, ref metav1.OwnerReference) map[string]any {
	return references(obj, append(append([]metav1.OwnerReference{}, obj.GetOwnerReferences()...), ref))
}

// release is the patch that takes the owner's reference away.
func release(obj kube.Object, owner metav1.Object) map[string]any {
	refs := []metav1.OwnerReference{}
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID != owner.GetUID() {
			refs = append(refs, ref)
		}
	}
	return references(obj, refs)
}

func references(obj kube.Object, refs []metav1.OwnerReference) map[string]any {
	return map[string]any{"metadata": map[string]any{"uid": obj.GetUID(), "resourceVersion": obj.GetResourceVersion(), "ownerReferences": refs}}
}

// otherOwner is the error of an adoption by an owner that is not the one it was: memory shows one that has been deleted, perhaps made anew.
func otherOwner(owner kube.Object, live kube.Object) error {
	if live.GetUID() != owner.GetUID() {
		return fmt.Errorf("%s is another object now: uid %s instead of %s", owner.GetName(), live.GetUID(), owner.GetUID())
	}
	if at := live.GetDeletionTimestamp(); at != nil {
		return fmt.Errorf("%s is being deleted since %s", owner.GetName(), at)
	}
	return nil
}
