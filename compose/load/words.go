package load

import "regexp"

// wording is how a sentence of compose-go, or of what it is made of, is said to the writer of a file.
type wording struct {
	pattern string // its groups are named: path, where the sentence names a place, and value
	text    string // with ${value}
}

// wordings is the table of sentences that speak of the program's inside, or don't say what would be right.
func wordings() []wording {
	const interpolating = `^error while interpolating (?P<path>\S+): `
	const number, size, duration = `"${value}" is no number`,
		`"${value}" is no size: want a number with a unit, as 64m or 2g`, `"${value}" is no duration: want a number with a unit, as 30s or 1m30s`
	return []wording{
		{interpolating + `failed to cast to expected type: strconv\.Parse(?:Float|Int|Uint): parsing "(?P<value>.*)": .*$`, number},
		{interpolating + `failed to cast to expected type: strconv\.Atoi: parsing "(?P<value>.*)": .*$`, number},
		{interpolating + `(?P<value>required variable .*)$`, `${value}`},
		{`^[Ii]nvalid hostPort: (?P<value>.*)$`, `"${value}" cannot be published: want a port from 1 to 65535, or a range of them`},
		{`^[Ii]nvalid containerPort: (?P<value>.*)$`, `"${value}" is no port of a container: want one from 1 to 65535, or a range of them`},
		{`^invalid size: '(?P<value>.*)'$`, size},
		{`^time: (?:invalid duration|missing unit in duration|unknown unit ".*" in duration) "(?P<value>.*)"$`, duration},
	}
}

// reworded says a problem in the words of the table, if its sentence is there.
func reworded(p Problem) Problem {
	for _, w := range wordings() {
		pattern := regexp.MustCompile(w.pattern)
		found := pattern.FindStringSubmatchIndex(p.Text)
		if found == nil {
			continue
		}
		if path := pattern.ExpandString(nil, "${path}", p.Text, found); len(path) > 0 && p.Path == "" {
			p.Path = string(path)
		}
		p.Text = string(pattern.ExpandString(nil, w.text, p.Text, found))
		return p
	}
	return p
}
