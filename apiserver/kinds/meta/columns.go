package meta

import (
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Col is a column that every table shows; wide is one that only `-o wide` shows.
func Col(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description}
}

func Wide(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description, Priority: 1}
}

// NameColumn and ageColumn begin and usually end the narrow table of a kind.
func NameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name",
		Description: "Name must be unique within a namespace."}
}

func AgeColumn() metav1.TableColumnDefinition {
	return Col("Age", "string", "Time since the object was created.")
}

// Age is the time since a moment in kubectl's words ("5m3s"), "<unknown>" if it never was.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// MicroAge is age for times of microsecond precision.
func MicroAge(t metav1.MicroTime) string { return Age(metav1.Time(t)) }

// LabelsCell is a label map as kubectl shows it, sorted, "<none>" if empty.
func LabelsCell(m map[string]string) string {
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

func OrDefault(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
