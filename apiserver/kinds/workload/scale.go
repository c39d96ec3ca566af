package workload

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// ScaleOf is the subresource scale of a workload, of type autoscaling/v1 Scale.
func ScaleOf[T registry.Object](from func(T) *autoscalingv1.Scale, into func(T, *autoscalingv1.Scale) error) registry.Subresource {
	return registry.Subresource{
		Name:  "scale",
		GVK:   autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		Verbs: meta.StatusVerbs(),
		New:   func() runtime.Object { return &autoscalingv1.Scale{} },
		From:  func(parent registry.Object) (runtime.Object, error) { return from(parent.(T)), nil },
		Into: func(parent registry.Object, sub runtime.Object) (registry.Object, error) {
			changed := parent.DeepCopyObject().(T)
			if err := into(changed, sub.(*autoscalingv1.Scale)); err != nil {
				return nil, err
			}
			return changed, nil
		},
	}
}

// ScaleView is the Scale of a workload.
func ScaleView(obj registry.Object, wanted, present int32, selector *metav1.LabelSelector) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: autoscalingv1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{
			Name:              obj.GetName(),
			Namespace:         obj.GetNamespace(),
			UID:               obj.GetUID(),
			ResourceVersion:   obj.GetResourceVersion(),
			CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: wanted},
		Status: autoscalingv1.ScaleStatus{Replicas: present, Selector: metav1.FormatLabelSelector(selector)},
	}
}

// TakeScaleMeta checks that the Scale speaks of this object and lets its resourceVersion, if any, guard the write.
func TakeScaleMeta(obj registry.Object, scale *autoscalingv1.Scale) error {
	if scale.Name != obj.GetName() {
		return errkind.New(errkind.Invalid, "scale is named %q, the object %q", scale.Name, obj.GetName())
	}
	if scale.UID != "" && scale.UID != obj.GetUID() {
		return errkind.New(errkind.Conflict, "Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, obj.GetUID())
	}
	if scale.Spec.Replicas < 0 {
		errs := check.NonNegative(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas"))
		return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), scale.Name, errs)
	}
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	return nil
}
