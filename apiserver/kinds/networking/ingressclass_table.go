package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func ingressClassColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Controller", "string", "Controller that is responsible for handling this class"),
		meta.Col("Parameters", "string", "A reference to a resource with additional parameters"),
		meta.AgeColumn(),
	}
}

func ingressClassCells(c *networkingv1.IngressClass) []any {
	name := c.Name
	if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	parameters := "<none>"
	if p := c.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, c.Spec.Controller, parameters, meta.Age(c.CreationTimestamp)}
}
