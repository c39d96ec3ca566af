package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// TestEndpointsOfPods: the older form of a Service's addresses says what the pods are, comes back when it is deleted, and goes with the Service.
func TestEndpointsOfPods(t *testing.T) {
	w := newWorld(t)
	w.create(service("web", map[string]string{"app": "web"}))
	ready := func(n int) func() error {
		return func() error {
			e, _ := kube.Get[*corev1.Endpoints](w, kube.Endpoints, "default", "web")
			got := 0
			if e != nil {
				for _, s := range e.Subsets {
					got += len(s.Addresses)
				}
			}
			if e == nil || got != n {
				return fmt.Errorf("endpoints %+v, want %d addresses", e, n)
			}
			return nil
		}
	}
	w.until(ready(0))
	w.create(deployment(2, template("web:1", nil)))
	w.until(w.count(2))
	w.kubelet()
	w.until(ready(2))
	if err := w.Delete(w.ctx, kube.Endpoints, "default", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(ready(2))
	if err := w.Delete(w.ctx, kube.Services, "default", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(func() error {
		if e, there := kube.Get[*corev1.Endpoints](w, kube.Endpoints, "default", "web"); there {
			return fmt.Errorf("endpoints %s are left", e.Name)
		}
		return nil
	})
}

// TestEndpointsOfAUser: what a user writes for a Service that selects nothing becomes slices, whichever of the two is there first.
func TestEndpointsOfAUser(t *testing.T) {
	w := newWorld(t)
	w.create(&corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Name: "sql", Port: 5432}}}}})
	w.create(service("db", nil))
	mirrored := func(want string) func() error {
		return func() error {
			got := ""
			for _, s := range kube.By[*discoveryv1.EndpointSlice](w, kube.EndpointSlices, kube.ByService, "default/db") {
				for _, e := range s.Endpoints {
					got += fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port)
				}
			}
			if got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		}
	}
	w.until(mirrored("192.0.2.1:5432"))
	e, _ := kube.Get[*corev1.Endpoints](w, kube.Endpoints, "default", "db")
	changed := e.DeepCopy()
	changed.Subsets[0].Addresses[0].IP = "192.0.2.2"
	if _, err := w.Update(w.ctx, changed); err != nil {
		t.Fatal(err)
	}
	w.until(mirrored("192.0.2.2:5432"))
	if err := w.Delete(w.ctx, kube.Endpoints, "default", "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(mirrored(""))
}

func service(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}}}
}
