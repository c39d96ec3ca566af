package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The sizes from which on a function or a file is listed, and those that fail.
const (
	longFunction, tooLongFunction = 60, 100
	longFile, tooLongFile         = 400, 800
)

// TestSizes: a function or file beyond the hard bounds has a seam that nobody looked for. Those that are merely long are listed with -v.
func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.generated {
			continue
		}
		size(t, s.path, s.lines(s.file.FileStart, s.file.FileEnd), longFile, tooLongFile)
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				size(t, s.path+" "+f.Name.Name, s.lines(f.Pos(), f.End()), longFunction, tooLongFunction)
			}
		}
	}
}

func size(t *testing.T, what string, lines, long, tooLong int) {
	switch _, known := Long[what]; {
	case lines > tooLong && !known:
		t.Errorf("%s has %d lines, more than %d: look for the seam", what, lines, tooLong)
	case lines > long:
		t.Logf("%s has %d lines", what, lines)
	}
}

// TestState: packages have no variables that change.
func TestState(t *testing.T) {
	all := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test && !s.generated {
			all[s.dir] = append(all[s.dir], s)
		}
	}
	found := map[string]bool{}
	for dir, files := range all {
		for name, why := range changing(files) {
			found[dir+"."+name] = true
			if _, known := State[dir+"."+name]; !known {
				t.Errorf("%s: the package's variable %s %s: make it part of a value that somebody owns, or name it in test/house/rules.go with the reason", dir, name, why)
			}
		}
	}
	for name := range State {
		if !found[name] {
			t.Errorf("test/house/rules.go names the state %s, which is not there or does not change", name)
		}
	}
}

// TestElsewhere: nobody writes to another package's variables.
func TestElsewhere(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.generated {
			continue
		}
		for _, name := range abroad(s.file) {
			found[s.dir+": "+name] = true
			if _, known := Elsewhere[s.dir+": "+name]; !known {
				t.Errorf("%s writes to %s, which the whole process sees: find another way, or name it in test/house/rules.go with the reason", s.path, name)
			}
		}
	}
	for name := range Elsewhere {
		if !found[name] {
			t.Errorf("test/house/rules.go names %q, where nothing is written", name)
		}
	}
}

// abroad lists the variables of imported packages that a file writes to.
func abroad(file *ast.File) []string {
	imported := map[string]bool{}
	for _, imp := range file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		name := path[strings.LastIndex(path, "/")+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		imported[name] = true
	}
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		for _, target := range written(n) {
			sel, ok := target.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil && imported[x.Name] {
				all = append(all, x.Name+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return all
}

// changing finds the variables of a package that can change, with the sign of it.
func changing(files []source) map[string]string {
	vars, signs := map[string]*ast.ValueSpec{}, map[string]string{}
	for _, s := range files {
		for _, decl := range s.file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				embedded := strings.Contains(comments(g.Doc)+comments(v.Doc), "//go:embed")
				for i, name := range v.Names {
					if name.Name == "_" {
						continue
					}
					vars[name.Name] = v
					if sign := born(v, i); sign != "" && !embedded {
						signs[name.Name] = sign
					}
				}
			}
		}
	}
	for _, s := range files {
		ast.Inspect(s.file, func(n ast.Node) bool {
			for _, target := range written(n) {
				name := root(target)
				if name == nil || vars[name.Name] == nil {
					continue
				}
				// The parser resolves names inside a file; one that it does not know there is the package's.
				if name.Obj == nil || name.Obj.Decl == vars[name.Name] {
					signs[name.Name] = "is written to"
				}
			}
			return true
		})
	}
	return signs
}

func comments(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var text string
	for _, c := range g.List {
		text += c.Text + "\n"
	}
	return text
}

// born says whether a variable is made to change: it begins without a value, or is of a type whose values only make sense if they change.
func born(v *ast.ValueSpec, i int) string {
	if len(v.Values) == 0 {
		return "begins without a value"
	}
	text := ""
	value := v.Values[min(i, len(v.Values)-1)]
	if call, ok := value.(*ast.CallExpr); ok {
		text = printed(call.Fun)
		if text == "make" {
			return "is made empty, to be filled"
		}
	}
	if lit, ok := value.(*ast.CompositeLit); ok {
		text = printed(lit.Type)
	}
	if v.Type != nil {
		text = printed(v.Type)
	}
	if strings.HasPrefix(text, "atomic.") || strings.HasPrefix(text, "sync.") && !strings.HasPrefix(text, "sync.Once") {
		return "is a " + text
	}
	return ""
}

func printed(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return printed(x.X) + "." + x.Sel.Name
	case *ast.StarExpr:
		return printed(x.X)
	case *ast.IndexExpr:
		return printed(x.X)
	}
	return ""
}

// written are the places that a statement or expression writes to, or gives others the means to write to.
func written(n ast.Node) []ast.Expr {
	switch x := n.(type) {
	case *ast.AssignStmt:
		if x.Tok != token.DEFINE {
			return x.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{x.X}
	case *ast.RangeStmt:
		if x.Tok == token.ASSIGN {
			return []ast.Expr{x.Key, x.Value}
		}
	case *ast.CallExpr:
		if f, ok := x.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") {
			return x.Args[:1]
		}
	}
	return nil
}

// root is the variable that a place is a part of.
func root(e ast.Expr) *ast.Ident {
	switch x := e.(type) {
	case *ast.Ident:
		return x
	case *ast.SelectorExpr:
		return root(x.X)
	case *ast.IndexExpr:
		return root(x.X)
	case *ast.ParenExpr:
		return root(x.X)
	}
	return nil
}

// TestLabels: every label of a figure has a known bound.
func TestLabels(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.generated || within(s.dir, "test") {
			continue
		}
		local := map[string][]string{} // lists of labels that have a name
		ast.Inspect(s.file, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == 1 {
				if name, ok := a.Lhs[0].(*ast.Ident); ok {
					local[name.Name] = texts(a.Rhs[0])
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || !strings.HasPrefix(printed(call.Fun), "prometheus.New") || len(call.Args) < 2 {
				return true
			}
			for _, arg := range call.Args[1:] {
				labels := texts(arg)
				if name, ok := arg.(*ast.Ident); ok {
					labels = local[name.Name]
				}
				for _, label := range labels {
					found[label] = true
					if _, known := Labels[label]; !known {
						t.Errorf("%s: a figure has the label %q, of which test/house/rules.go does not say what bounds its values", s.path, label)
					}
				}
			}
			return true
		})
	}
	for label := range Labels {
		if !found[label] {
			t.Errorf("test/house/rules.go names the label %q, which no figure has", label)
		}
	}
}

// texts are the strings in a list that is written out.
func texts(e ast.Expr) []string {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	var all []string
	for _, element := range lit.Elts {
		if b, ok := element.(*ast.BasicLit); ok && b.Kind == token.STRING {
			text, _ := strconv.Unquote(b.Value)
			all = append(all, text)
		}
	}
	return all
}

var apiGroup = regexp.MustCompile(`^k8s\.io/api/([a-z0-9]+)/(v[0-9a-z]+)$`)

// TestAliases: a package of Kubernetes has the same name in every file.
func TestAliases(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			want, ruled := Aliases[path]
			if m := apiGroup.FindStringSubmatch(path); m != nil && !ruled {
				want = m[1] + m[2]
			}
			name := ""
			if imp.Name != nil {
				name = imp.Name.Name
			}
			if want != "" && name != want && name != "_" {
				t.Errorf("%s imports %s as %q, want %q", s.path, path, name, want)
			}
		}
	}
}

var dice = regexp.MustCompile(`^rand\.(Int|Uint|Float|N$|Shuffle|Perm|Text|Read|String$|New)`)

// TestDecisionsHaveNoClock: what decides is told the time, and never rolls dice.
func TestDecisionsHaveNoClock(t *testing.T) {
	decisions := 0
	for _, s := range sources(t) {
		if s.test || s.generated || within(s.dir, "test") || within(s.dir, "examples") {
			continue
		}
		whole := filepath.Base(s.path) == "plan.go" || filepath.Base(s.path) == "decide.go"
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil || !whole && !strings.HasPrefix(strings.ToLower(f.Name.Name), "decide") {
				continue
			}
			decisions++
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if text := printed(sel); slices.Contains([]string{"time.Now", "time.Since", "time.Until"}, text) || dice.MatchString(text) {
						t.Errorf("%s: %s uses %s; a decision gets the time as an argument", s.path, f.Name.Name, text)
					}
				}
				return true
			})
		}
	}
	if decisions < 20 {
		t.Errorf("found only %d functions that decide: the rule looks in the wrong place", decisions)
	}
}

// TestGoldensAreTestkits: expectations in files are compared and written anew by internal/testkit alone.
func TestGoldensAreTestkits(t *testing.T) {
	for _, s := range sources(t) {
		if within(s.dir, "internal/testkit") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && strings.HasPrefix(printed(call.Fun), "flag.") && len(call.Args) > 0 {
				if b, ok := call.Args[0].(*ast.BasicLit); ok && b.Value == `"update"` {
					t.Errorf("%s has an -update flag of its own; use internal/testkit", s.path)
				}
			}
			return true
		})
	}
}

// TestRootTestsAreChecked: a test that needs root begins with leak.Root, and so is held to leave nothing behind.
func TestRootTestsAreChecked(t *testing.T) {
	for _, s := range sources(t) {
		if within(s.dir, "internal/testkit") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			stmt, ok := n.(*ast.IfStmt)
			if !ok {
				return true
			}
			asks, skips := false, false
			ast.Inspect(stmt, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					text := printed(call.Fun)
					asks = asks || text == "os.Geteuid" || text == "os.Getuid"
					skips = skips || strings.HasPrefix(text, "t.Skip") || strings.HasPrefix(text, "b.Skip") || strings.HasPrefix(text, "tb.Skip")
				}
				return true
			})
			if asks && skips {
				t.Errorf("%s asks for root by itself; begin the test with leak.Root", s.path)
			}
			return true
		})
	}
}

var (
	inCode  = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`|(?m)^    \\S[^\n]*$")
	command = regexp.MustCompile(`\b(cuppa|make)((?:[ \t]+-[-a-zA-Z=./0-9]+)*)[ \t]+([a-z][a-z0-9-]*)`)
	target  = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
)

// TestDocumentsNameCommands: every command of cuppa and make in the documents is one that there is.
func TestDocumentsNameCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{"make": {}, "cuppa": verbs(t)}
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		known["make"][m[1]] = true
	}
	checked := 0
	for _, path := range documents(t, root) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range inCode.FindAllString(string(text), -1) {
			for _, m := range command.FindAllStringSubmatch(code, -1) {
				checked++
				if !known[m[1]][m[3]] {
					t.Errorf("%s: there is no %q", path, m[1]+" "+m[3])
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("found only %d commands in the documents: the rule looks in the wrong place", checked)
	}
}

func documents(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, paths...)
	}
	return all
}

// verbs are the first words of all commands: cobra commands say theirs in the field Use.
func verbs(t *testing.T) map[string]bool {
	words := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || !within(s.dir, "cli") && !within(s.dir, "cmd/cuppa") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			var use ast.Expr
			switch x := n.(type) {
			case *ast.KeyValueExpr:
				if printed(x.Key) == "Use" {
					use = x.Value
				}
			case *ast.CallExpr: // a function that makes a command of a name
				if strings.HasSuffix(printed(x.Fun), "ommand") && len(x.Args) > 0 {
					use = x.Args[0]
				}
			}
			if b, ok := use.(*ast.BasicLit); ok && b.Kind == token.STRING {
				text, _ := strconv.Unquote(b.Value)
				word, _, _ := strings.Cut(text, " ")
				words[word] = true
			}
			return true
		})
	}
	if len(words) < 20 {
		t.Errorf("found only %d verbs: the rule looks in the wrong place", len(words))
	}
	return words
}

// lines counts from one place of the file to another.
func (s source) lines(from, to token.Pos) int {
	return s.set.Position(to).Line - s.set.Position(from).Line + 1
}

// TestRules holds that the rules find what they look for: a rule that finds nothing anywhere would always pass.
func TestRules(t *testing.T) {
	const text = `package p

import "wal"

var (
	fixed   = map[string]int{"a": 1}
	failure = errors.New("no")
	pattern = regexp.MustCompile("x")
	empty   int
	lock    sync.Mutex
	once    = sync.OnceValue(f)
	counter = atomic.Int64{}
	filled  = make(map[string]int)
	table   = map[string]int{}
	list    = []int{1}
	box     = struct{ n int }{}
	taken   = []int{1}
)

func f() int {
	table["a"] = 1
	list = append(list, 2)
	box.n++
	wal.SegmentSizeBytes = 8
	taken := 2
	taken = 3
	return taken + fixed["a"]
}
`
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for name := range changing([]source{{path: "p.go", dir: "p", file: file, set: set}}) {
		found = append(found, name)
	}
	slices.Sort(found)
	if got, want := strings.Join(found, " "), "box counter empty filled list lock table"; got != want {
		t.Errorf("variables that change: %s, want %s", got, want)
	}
	if got := strings.Join(abroad(file), " "); got != "wal.SegmentSizeBytes" {
		t.Errorf("variables of others that are written to: %s", got)
	}
	var commands []string
	for _, code := range inCode.FindAllString("Run `make build`, then:\n\n    cuppa --data-dir=/x up -d\n\nWe make plans; cuppa is a word.\n```\ncuppa\ndown\n```\n", -1) {
		for _, m := range command.FindAllStringSubmatch(code, -1) {
			commands = append(commands, m[1]+" "+m[3])
		}
	}
	if got, want := strings.Join(commands, ", "), "make build, cuppa up"; got != want {
		t.Errorf("commands in a text: %s, want %s", got, want)
	}
}
