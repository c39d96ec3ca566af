package compose

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noEffectNote is the annotation of a flag that changes nothing here; its value is the reason.
const noEffectNote = "cuppa-no-effect"

// noEffect declares a flag that is taken so that scripts go on working, and that changes nothing here. Whoever gives it is told why.
func noEffect(fl *pflag.FlagSet, name, why string) {
	fl.Bool(name, false, fmt.Sprintf("Accepted without an effect: %s", why))
	note(fl, name, why)
}

// noEffectText is noEffect for a flag that takes a value.
func noEffectText(fl *pflag.FlagSet, name, short, why string) {
	fl.StringP(name, short, "", fmt.Sprintf("Accepted without an effect: %s", why))
	note(fl, name, why)
}

func note(fl *pflag.FlagSet, name, why string) {
	if err := fl.SetAnnotation(name, noEffectNote, []string{why}); err != nil {
		panic(err) // it was declared a line before
	}
}

// warnNoEffect names the flags that were given and change nothing.
func (s *session) warnNoEffect(cmd *cobra.Command) {
	for c := cmd; c != nil; c = c.Parent() {
		c.Flags().Visit(func(f *pflag.Flag) {
			if why := f.Annotations[noEffectNote]; len(why) > 0 {
				s.warn(fmt.Sprintf("--%s has no effect: %s", f.Name, why[0]))
			}
		})
	}
}
