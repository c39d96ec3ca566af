package events

import (
	"strings"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/core"
)

var newEventFieldNames = []string{
	"regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
	"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
	"reason", "reportingController", "type",
}

// coreEventFieldNames are what the stored form calls those of them that it names otherwise.
func coreEventFieldNames() map[string]string {
	out := map[string]string{"reportingController": "reportingComponent"}
	for _, name := range newEventFieldNames {
		if rest, ok := strings.CutPrefix(name, "regarding."); ok {
			out[name] = "involvedObject." + rest
		}
	}
	return out
}

func newEventCells(event *eventsv1.Event) []any { return core.EventCells(coreEventOf(event)) }
