package kinds

import (
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// col is a column that every table shows; wide is one that only `-o wide` shows.
func col(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description}
}

func wide(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description, Priority: 1}
}

// nameColumn and ageColumn begin and usually end the narrow table of a kind.
func nameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name",
		Description: "Name must be unique within a namespace."}
}

func ageColumn() metav1.TableColumnDefinition {
	return col("Age", "string", "Time since the object was created.")
}

// age is the time since a moment in kubectl's words ("5m3s"), "<unknown>" if it never was.
func age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// microAge is age for times of microsecond precision.
func microAge(t metav1.MicroTime) string { return age(metav1.Time(t)) }

// containerCells are the wide columns Containers and Images of a pod template.
func containerCells(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n = append(n, c.Name)
		i = append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// labelsCell is a label map as kubectl shows it, sorted, "<none>" if empty.
func labelsCell(m map[string]string) string {
	if len(m) == 0 {
		return "<none>"
	}
	pairs := make([]string, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, k+"="+v)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

// workloadColumns are the wide columns that ReplicaSets and Deployments share.
func workloadColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", "Label selector over the pods of this object."),
	}
}

func orDefault(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
