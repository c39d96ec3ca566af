package apiserver

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLastHappened(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	meta := metav1.ObjectMeta{CreationTimestamp: metav1.Time{Time: at(1)}}
	for name, c := range map[string]struct {
		event corev1.Event
		want  int
	}{
		"made":          {corev1.Event{ObjectMeta: meta}, 1},
		"counted":       {corev1.Event{ObjectMeta: meta, LastTimestamp: metav1.Time{Time: at(2)}}, 2},
		"new form":      {corev1.Event{ObjectMeta: meta, EventTime: metav1.MicroTime{Time: at(3)}}, 3},
		"in a series":   {corev1.Event{ObjectMeta: meta, EventTime: metav1.MicroTime{Time: at(3)}, Series: &corev1.EventSeries{LastObservedTime: metav1.MicroTime{Time: at(4)}}}, 4},
		"wrongly dated": {corev1.Event{ObjectMeta: meta, LastTimestamp: metav1.Time{Time: at(0)}}, 1},
	} {
		if got := lastHappened(&c.event); !got.Equal(at(c.want)) {
			t.Errorf("%s: %v, want minute %d", name, got, c.want)
		}
	}
}
