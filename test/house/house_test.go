package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/cuppa-project/cuppa"

// source is one Go file of the repository.
type source struct {
	path, dir string
	test      bool
	generated bool
	file      *ast.File
	set       *token.FileSet
}

// sources parses every Go file of this module, once for all tests.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: the tests look in the wrong place", len(all))
	}
	return all
}

var parsed = sync.OnceValues(parse)

func parse() ([]source, error) {
	root := filepath.Join("..", "..")
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			name := d.Name()
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if rel != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || strings.HasPrefix(name, "tmp") || nested == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		generated := strings.HasPrefix(d.Name(), "zz_")
		mode := parser.ParseComments
		if generated {
			mode = parser.ImportsOnly | parser.ParseComments
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, mode)
		if err != nil {
			return err
		}
		out = append(out, source{path: rel, dir: filepath.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), generated: generated, file: file, set: set})
		return nil
	})
	return out, err
}

func within(dir, parent string) bool {
	return parent == "" || dir == parent || strings.HasPrefix(dir, parent+"/")
}

// ruleFor finds the most particular rule for a folder.
func ruleFor(dir string) (Rule, bool) {
	best := -1
	for i, r := range Imports {
		if within(dir, r.Dir) && (best < 0 || len(r.Dir) > len(Imports[best].Dir)) {
			best = i
		}
	}
	if best < 0 {
		return Rule{}, false
	}
	return Imports[best], true
}

// refuse says what is wrong with a folder importing a path; "" if nothing is.
func refuse(dir, path string) string {
	if within(path, Forbidden) {
		return "nothing may import " + Forbidden
	}
	rule, ok := ruleFor(dir)
	if !ok {
		return "the folder has no row in the table of imports (test/house/imports.go)"
	}
	for _, never := range rule.Never {
		if strings.HasPrefix(path, never) {
			return rule.Dir + " never imports " + never + ": " + rule.Why
		}
	}
	if !within(path, module) {
		return ""
	}
	target := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	inner, _ := ruleFor(target)
	if within(target, rule.Dir) {
		if inner.Dir != rule.Dir {
			return rule.Dir + " may not import " + inner.Dir + ": " + inner.Why
		}
		for base, why := range Bases {
			if within(dir, base) && !within(target, base) {
				return base + " imports none of its neighbours: " + why
			}
		}
		return island(dir, target)
	}
	for _, may := range rule.May {
		if !within(target, may) {
			continue
		}
		// A door or an agent below an allowed folder has a rule of its own, and is only for those who name it.
		if may != "" && inner.Dir != may && within(inner.Dir, may) && len(inner.May) > 1 && !slices.Contains(rule.May, inner.Dir) {
			return rule.Dir + " may not import " + inner.Dir + ": " + inner.Why
		}
		return ""
	}
	return rule.Dir + " may import only " + strings.Join(rule.May, ", ") + ": " + rule.Why
}

func island(dir, target string) string {
	for parent, shared := range Islands {
		if !within(dir, parent) || !within(target, parent) || dir == parent {
			continue
		}
		child := func(p string) string {
			return strings.SplitN(strings.TrimPrefix(strings.TrimPrefix(p, parent), "/"), "/", 2)[0]
		}
		if a, b := child(dir), child(target); a != b && !slices.Contains(shared, b) {
			return parent + "/" + a + " may not import its neighbour " + parent + "/" + b
		}
	}
	return ""
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, imp := range s.file.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := refuse(s.dir, path); why != "" {
				t.Errorf("%s imports %s: %s", s.path, path, why)
			}
		}
	}
}

// TestTable holds that the rules themselves refuse what they should: a table that allows everything would pass TestImports.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		refused   bool
	}{
		{"scheduler", module + "/kube", false},
		{"scheduler", module + "/kube/events", false},
		{"scheduler", module + "/apiserver/cache", true},
		{"scheduler", "k8s.io/kubernetes/pkg/scheduler", true},
		{"controller/deployment", module + "/controller/loop", false},
		{"controller/deployment", module + "/controller/replicaset", true},
		{"engine/image", "k8s.io/api/core/v1", true},
		{"engine/image", module + "/engine/cri", true},
		{"engine/cri", module + "/engine/container", false},
		{"kubelet", module + "/engine/container", true},
		{"network/proxy", module + "/kube", true},
		{"network/agent", module + "/network/proxy", false},
		{"apiserver/rest", module + "/kube", true},
		{"apiserver/rest", module + "/apiserver/registry", false},
		{"apiserver/registry", module + "/apiserver/kinds", true},
		{"apiserver/kinds/apps", module + "/apiserver/kinds/podspec", false},
		{"apiserver/kinds/apps", module + "/apiserver/kinds/discovery", true},
		{"cli/up", module + "/compose/plan", false},
		{"app", module + "/engine/cri", false},
		{"unheard/of", "fmt", true},
	} {
		if got := refuse(c.dir, c.path); (got != "") != c.refused {
			t.Errorf("%s imports %s: got %q, want refused=%v", c.dir, c.path, got, c.refused)
		}
	}
}

func TestPackageComments(t *testing.T) {
	commented, seen := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		seen[s.dir] = true
		if s.file.Doc != nil && !s.generated {
			commented[s.dir] = true
		}
	}
	for dir := range seen {
		if !commented[dir] {
			t.Errorf("%s: no file has a package comment that says what the package is and where to start reading", dir)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		if _, ok := Inits[s.dir]; ok {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function; call it from where it is needed, or name the package in test/house with the reason", s.path)
			}
		}
	}
}

// TestModules holds that no other module appears, and that what must not be imported is not even downloaded with the product.
func TestModules(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "tmp")) {
			return fs.SkipDir
		}
		if name != "go.mod" {
			return nil
		}
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		seen[dir] = true
		row, known := Modules[dir]
		if !known {
			t.Errorf("%s: a module that is not in the table of modules (test/house/imports.go)", path)
		}
		raw, err := os.ReadFile(path)
		if named := slices.Contains(strings.Fields(string(raw)), Forbidden); named && !row.Upstream {
			t.Errorf("%s requires %s: %s", path, Forbidden, "nothing but the tests' own module may")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range Modules {
		if !seen[dir] {
			t.Errorf("the table of modules names %s, which is not there", dir)
		}
	}
}
