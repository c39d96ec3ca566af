package apps

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestScale(t *testing.T) {
	kind := deployments()
	scale := kind.Subresource("scale")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u", ResourceVersion: "7", Generation: 1},
		Spec:   appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status: appsv1.DeploymentStatus{Replicas: 1}}
	view, err := scale.From(d)
	if err != nil {
		t.Fatal(err)
	}
	s := view.(*autoscalingv1.Scale)
	if s.Spec.Replicas != 2 || s.Status.Replicas != 1 || s.Status.Selector != "app=web" || s.UID != "u" || s.ResourceVersion != "7" {
		t.Errorf("scale %+v", s)
	}
	s.Spec.Replicas = 5
	changed, err := scale.Into(d, s)
	if err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 2 || *changed.(*appsv1.Deployment).Spec.Replicas != 5 {
		t.Errorf("scaled to %d, the stored one to %d", *changed.(*appsv1.Deployment).Spec.Replicas, *d.Spec.Replicas)
	}
	kind.PrepareUpdate(changed, d)
	if changed.GetGeneration() != 2 {
		t.Errorf("generation %d after scaling, want 2", changed.GetGeneration())
	}
	s.Spec.Replicas = -1
	if _, err := scale.Into(d, s); !apierrors.IsInvalid(err) {
		t.Errorf("negative replicas: %v", err)
	}
	s.Spec.Replicas, s.UID = 1, "other"
	if _, err := scale.Into(d, s); !errors.Is(err, errkind.Conflict) {
		t.Errorf("another uid: %v", err)
	}
}
