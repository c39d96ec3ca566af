package document

import (
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
)

// TestOperationIDs holds the rule of OpenAPI that operations have names of their own.
func TestOperationIDs(t *testing.T) {
	table := kinds.All()
	seen := map[string]string{}
	for _, gv := range table.GroupVersions() {
		for _, r := range newPaths(gv).of(table.In(gv)) {
			at := r.Method() + " " + r.Path()
			if other, twice := seen[r.OperationName()]; twice {
				t.Errorf("%s and %s are both %s", other, at, r.OperationName())
			}
			seen[r.OperationName()] = at
		}
	}
	if seen["patchAppsV1NamespacedDeploymentScale"] == "" || seen["listCoreV1PodForAllNamespaces"] == "" || seen["connectCoreV1PatchNamespacedPodProxyWithPath"] == "" {
		t.Error("well-known operations are missing")
	}
}
