package namespace

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestConditions tells the end of a namespace, in the words that people know.
func TestConditions(t *testing.T) {
	pods, sets := schema.GroupResource{Resource: "pods"}, schema.GroupResource{Group: "apps", Resource: "replicasets"}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out strings.Builder
	conditions := []corev1.NamespaceCondition{{Type: "example.com/mine", Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(begin)}}
	for i, o := range []Observed{
		{Remaining: map[schema.GroupResource]int{pods: 2, sets: 1}, Finalizers: map[string]int{"b": 1, "a": 2}},
		{Remaining: map[schema.GroupResource]int{pods: 1}, Failures: []error{errors.New("delete pods p: refused"), errors.New("delete apps s: refused")}},
		{Remaining: map[schema.GroupResource]int{pods: 1}},
		{},
	} {
		o.Now = begin.Add(time.Duration(i) * time.Minute)
		conditions = Conditions(o, conditions)
		fmt.Fprintf(&out, "minute %d, empty %t\n", i, o.Empty())
		for _, c := range conditions {
			fmt.Fprintf(&out, "  %s %s since minute %.0f, %s: %s\n", c.Type, c.Status, c.LastTransitionTime.Sub(begin).Minutes(), c.Reason, c.Message)
		}
	}
	testkit.Golden(t, "conditions.txt", out.String())
}
