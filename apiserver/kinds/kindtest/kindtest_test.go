package kindtest_test

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/kinds/kindtest"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// TestEveryKind asks everything of every row that is served from the start, each on a server of its own: versions of one resource share their
// objects. A new row needs a file in testdata.
func TestEveryKind(t *testing.T) {
	unused := map[string]bool{}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		unused[file] = true
	}
	for _, kind := range kinds.All().Kinds() {
		delete(unused, fixtureFile(kind))
		t.Run(kind.GVR().GroupResource().String()+"."+kind.GVK.Version, func(t *testing.T) {
			server := apiservertest.New(t)
			kindtest.Run(t, server, row(t, server, kind), fixture(t, kind))
		})
	}
	for file := range unused {
		t.Errorf("%s is the fixture of no kind", file)
	}
}

// row is the server's own row of a kind.
func row(t *testing.T, server *apiservertest.Server, kind *registry.Kind) *registry.Kind {
	t.Helper()
	served := server.Kinds().ByKind(kind.GVK)
	if served == nil {
		t.Fatalf("%v is not served", kind.GVK)
	}
	return served
}

// fixtureFile is called by the resource, group and version of the row.
func fixtureFile(kind *registry.Kind) string {
	return filepath.Join("testdata", kind.Resource+"."+cmp.Or(kind.GVK.Group, "core")+"."+kind.GVK.Version+".yaml")
}

func fixture(t *testing.T, kind *registry.Kind) kindtest.Fixture {
	t.Helper()
	file := fixtureFile(kind)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("the kind has no fixture: %v", err)
	}
	var f kindtest.Fixture
	if err := yaml.UnmarshalStrict(content, &f); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return f
}
