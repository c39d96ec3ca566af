package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// source is one file with its node tree, which remembers the line of everything.
type source struct {
	path    string // as given to the loader
	show    string // as shown to the user
	content []byte
	root    *yaml.Node // nil if the file has a syntax error
}

// parse reads the YAML of one file. Problems are syntax errors and keys given twice.
func parse(path, show string, content []byte) (*source, []Problem) {
	s := &source{path: path, show: show, content: content}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return s, []Problem{syntaxProblem(show, err)}
	}
	if len(doc.Content) == 0 {
		return s, []Problem{{File: show, Text: "empty compose file"}}
	}
	s.root = doc.Content[0]
	if s.root.Kind != yaml.MappingNode {
		return s, []Problem{{File: show, Line: s.root.Line, Text: "the top level must be a mapping"}}
	}
	return s, duplicates(show, s.root, "")
}

// syntaxProblem takes a YAML error apart. The parser counts its lines from 0, the scanner from 1, and each may name two places: where the
// surrounding block began, and where it went wrong. The second is the one to show.
func syntaxProblem(show string, err error) Problem {
	form := regexp.MustCompile(`(?s)^yaml: (?:(while .+?) at (?:<unknown position>|line (\d+)(?:, column \d+)?): )?(?:line (\d+)(?:, column (\d+))?: )?(.*)$`)
	m := form.FindStringSubmatch(err.Error())
	if m == nil {
		return Problem{File: show, Text: "YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	line, _ := strconv.Atoi(m[3])
	if m[3] == "" {
		line, _ = strconv.Atoi(m[2])
	}
	shift := 0
	if strings.HasSuffix(fmt.Sprintf("%T", err), "ParserError") && !strings.Contains(m[5], "anchor") {
		shift = 1
	}
	text := "YAML: " + m[5]
	if m[1] != "" {
		text += " " + m[1]
		if began, err := strconv.Atoi(m[2]); err == nil && began+shift != line+shift {
			text += fmt.Sprintf(" that began on line %d", began+shift)
		}
	}
	if strings.Contains(m[5], "cannot start any token") {
		text += " (YAML forbids tabs in the indentation)"
	}
	return Problem{File: show, Line: line + shift, Text: text}
}

func duplicates(show string, n *yaml.Node, path string) []Problem {
	var out []Problem
	switch n.Kind {
	case yaml.MappingNode:
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			at := join(path, key.Value)
			if line, ok := first[key.Value]; ok && key.Value != "<<" {
				out = append(out, Problem{File: show, Line: key.Line, Path: at, Text: fmt.Sprintf("key given twice (first on line %d)", line)})
			}
			first[key.Value] = key.Line
			out = append(out, duplicates(show, n.Content[i+1], at)...)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			out = append(out, duplicates(show, c, fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// line returns the line of the deepest node on the path, and how many of its parts were found.
func (s *source) line(path []string) (line, depth int) {
	if s.root == nil {
		return 0, 0
	}
	n := s.root
	line = n.Line
	for depth < len(path) {
		next, at := child(n, path[depth])
		if next == nil {
			return line, depth
		}
		n, line = next, at
		depth++
	}
	return line, depth
}

func child(n *yaml.Node, key string) (*yaml.Node, int) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1], n.Content[i].Line
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "<<" {
				return child(n.Content[i+1], key)
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
		// A list of A=B, or of names, holds what the long form has as keys.
		for _, c := range n.Content {
			if name, _, _ := strings.Cut(c.Value, "="); name == key {
				return c, c.Line
			}
		}
	}
	return nil, 0
}

// place finds a path in the files: the last file that has all of it wins, for it overrides the others.
func place(sources []*source, path []string) (show string, line int) {
	best := -1
	for _, s := range slices.Backward(sources) {
		if l, d := s.line(path); d > best && s.root != nil {
			best, show, line = d, s.show, l
		}
	}
	return show, line
}

// Nearest returns the known word that is most like the given one, or "".
func Nearest(word string, known []string) string {
	best, limit := "", min(2, len(word)/2)+1
	for _, k := range known {
		if d := distance(word, k); d < limit {
			best, limit = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements that lead from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
