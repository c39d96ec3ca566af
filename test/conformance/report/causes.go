package report

import "regexp"

// Cause is a reason in our words for the failure of some cases.
type Cause struct {
	Case    *regexp.Regexp // of "AREA NAME"; nil: any
	Message *regexp.Regexp // of the suite's message; nil: any
	Say     string         // in one line; begin with MachineLacks or NodesLack where the program is not at fault
}

func (c Cause) matches(of Case, message string) bool {
	return (c.Case == nil || c.Case.MatchString(of.Area+" "+of.Name)) && (c.Message == nil || c.Message.MatchString(message))
}

// Causes is the table, kept by hand: the first row that fits a failed case gives its reason. A row that hides the suite's own words must
// say more than they do.
func Causes() []Cause {
	row := func(cases, message, say string) Cause {
		c := Cause{Say: say}
		if cases != "" {
			c.Case = regexp.MustCompile(cases)
		}
		if message != "" {
			c.Message = regexp.MustCompile(message)
		}
		return c
	}
	return []Cause{
		row("", `(?i)requires at least \d+ (schedulable )?nodes|need at least \d+ nodes`, NodesLack+"the run had one"),
	}
}
