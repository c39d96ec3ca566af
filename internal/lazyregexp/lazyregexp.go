// Package lazyregexp has regular expressions that are compiled when they are first asked, not when the program starts. It is a stand-in for package
// regexp in code that keeps expressions at package level and seldom asks them: the front program's build puts it into modules of others (see
// cmd/cuppa/build.sh), so it has the names that those use, and no more.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is one expression. It may be used by many at once, and may not be copied. It is written without generics, because the modules that get
// it are older than those.
type Regexp struct {
	text string
	once sync.Once
	made *regexp.Regexp
}

// MustCompile keeps the text. What regexp.MustCompile would panic about, the first use of the expression panics about.
func MustCompile(text string) *Regexp { return &Regexp{text: text} }

func (r *Regexp) compiled() *regexp.Regexp {
	r.once.Do(func() { r.made = regexp.MustCompile(r.text) })
	return r.made
}

// String is the expression's text. It does not compile it.
func (r *Regexp) String() string { return r.text }

// MatchString says whether the expression matches somewhere in s.
func (r *Regexp) MatchString(s string) bool { return r.compiled().MatchString(s) }

// FindStringSubmatch is the leftmost match in s and those of its groups, nil for none.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.compiled().FindStringSubmatch(s) }
