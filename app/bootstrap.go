package app

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/kube"
)

// bootstrap makes the Service by which pods reach the API server: default/kubernetes, with this server as its endpoint.
func (c *control) bootstrap(ctx context.Context, cluster kube.Cluster) error {
	_, portText, err := net.SplitHostPort(c.config.Listen)
	if err != nil {
		return err
	}
	port, err := strconv.ParseInt(portText, 10, 32)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", c.config.Listen, err)
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes",
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeClusterIP,
			ClusterIP: c.ranges.API().String(),
			Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(int32(port))}},
		},
	}
	if _, ok := kube.Get[*corev1.Service](cluster, kube.Services, svc.Namespace, svc.Name); !ok {
		if _, err := cluster.Create(ctx, svc); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make the kubernetes service: %w", err)
		}
	}
	if err := c.ownSlice(ctx, cluster, int32(port)); err != nil {
		return err
	}
	return c.ownEndpoints(ctx, cluster, int32(port))
}

// ownSlice makes this server the endpoint of default/kubernetes.
func (c *control) ownSlice(ctx context.Context, cluster kube.Cluster, port int32) error {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes",
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{c.address.String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(port), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	_, err := cluster.Create(ctx, slice)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	have, ok := kube.Get[*discoveryv1.EndpointSlice](cluster, kube.EndpointSlices, slice.Namespace, slice.Name)
	if !ok || equality.Semantic.DeepEqual(have.Endpoints, slice.Endpoints) && equality.Semantic.DeepEqual(have.Ports, slice.Ports) {
		return nil
	}
	changed := have.DeepCopy()
	changed.Endpoints, changed.Ports = slice.Endpoints, slice.Ports
	_, err = cluster.Update(ctx, changed)
	return err
}

// ownEndpoints says the same in the older form, for clients that read that. No slice is to be made of it.
func (c *control) ownEndpoints(ctx context.Context, cluster kube.Cluster, port int32) error {
	wanted := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: c.address.String()}},
			Ports:     []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}},
		}},
	}
	_, err := cluster.Create(ctx, wanted)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	have, ok := kube.Get[*corev1.Endpoints](cluster, kube.Endpoints, wanted.Namespace, wanted.Name)
	if !ok || equality.Semantic.DeepEqual(have.Subsets, wanted.Subsets) {
		return nil
	}
	changed := have.DeepCopy()
	changed.Subsets = wanted.Subsets
	_, err = cluster.Update(ctx, changed)
	return err
}
