package lazyregexp

import (
	"regexp"
	"slices"
	"testing"
)

// TestAsRegexp asks both packages the same.
func TestAsRegexp(t *testing.T) {
	for _, text := range []string{`^[a-f0-9]{4}$`, `([a-z]+)(?:-([a-z]+))?`, ``} {
		lazy, eager := MustCompile(text), regexp.MustCompile(text)
		if lazy.String() != eager.String() {
			t.Errorf("%q: the text is %q", text, lazy)
		}
		for _, s := range []string{"", "beef", "beefs", "left-right", "42"} {
			if got, want := lazy.MatchString(s), eager.MatchString(s); got != want {
				t.Errorf("%q matches %q: %t, want %t", text, s, got, want)
			}
			if got, want := lazy.FindStringSubmatch(s), eager.FindStringSubmatch(s); !slices.Equal(got, want) {
				t.Errorf("%q in %q: %q, want %q", text, s, got, want)
			}
		}
	}
}

// TestCompilesWhenAsked holds that nothing happens before: an expression that is none is noticed by its first use.
func TestCompilesWhenAsked(t *testing.T) {
	broken := MustCompile(`(`)
	if broken.String() != `(` {
		t.Error("the text is kept as it is")
	}
	defer func() {
		if recover() == nil {
			t.Error("a broken expression was used")
		}
	}()
	broken.MatchString("")
}
