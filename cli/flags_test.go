package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlagsAct holds that every flag of the command tree is read somewhere: a flag that is accepted must act. Those that cannot are declared as
// such and tell whoever gives them; they have no variable.
func TestFlagsAct(t *testing.T) {
	dirs := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			dirs[filepath.Dir(path)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for dir := range dirs {
		var files []*ast.File
		names, _ := filepath.Glob(filepath.Join(dir, "*.go"))
		if dir == "server" {
			names = append(names, "../cmd/cuppa-heavy/server.go") // the server's options are read where the server is
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		bound, reads := variables(files)
		flags += len(bound)
		for name, flag := range bound {
			if reads[name] == 0 {
				t.Errorf("%s: the flag --%s is stored in %s, which nothing reads", dir, flag, name)
			}
		}
	}
	if flags < 80 {
		t.Errorf("found only %d flags: the test looks in the wrong place", flags)
	}
}

// variables are those that flags are stored in, with the flag's name, and how often each name is read.
func variables(files []*ast.File) (bound map[string]string, reads map[string]int) {
	bound, reads = map[string]string{}, map[string]int{}
	given := map[*ast.Ident]bool{}
	skip := func(e ast.Expr) *ast.Ident {
		switch e := e.(type) {
		case *ast.Ident:
			given[e] = true
			return e
		case *ast.SelectorExpr:
			given[e.Sel] = true
			return e.Sel
		}
		return nil
	}
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			method, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(strings.TrimSuffix(method.Sel.Name, "P"), "Var") || len(n.Args) < 3 {
				break
			}
			if to, ok := n.Args[0].(*ast.UnaryExpr); ok && to.Op == token.AND {
				if name, ok := n.Args[1].(*ast.BasicLit); ok {
					bound[skip(to.X).Name] = strings.Trim(name.Value, `"`)
				}
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				skip(left)
			}
		case *ast.Field:
			for _, name := range n.Names {
				given[name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				given[name] = true
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				given[key] = true
			}
		case *ast.Ident:
			if !given[n] {
				reads[n.Name]++
			}
		}
		return true
	}
	for _, f := range files {
		ast.Inspect(f, look)
	}
	return bound, reads
}

// TestFlagsActFindsOne holds the test above against a flag that nobody reads.
func TestFlagsActFindsOne(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
type f struct { used, lost bool }
func declare(fl FlagSet, f *f) { fl.BoolVar(&f.used, "used", false, ""); fl.BoolVarP(&f.lost, "lost", "l", false, "") ; f.lost = true }
func act(f *f) bool { return f.used }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	bound, reads := variables([]*ast.File{file})
	if len(bound) != 2 || reads["used"] == 0 || reads["lost"] != 0 {
		t.Errorf("bound %v, reads %v", bound, reads)
	}
}
