package plan

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// String prints the plan: containers, steps, then the objects to apply.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "project %s namespace %s services %s\n", p.Project, p.Namespace, strings.Join(p.Services, ","))
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	for _, v := range p.NewVolumes {
		fmt.Fprintf(&b, "volume %s\n", v)
	}
	for _, c := range p.Containers {
		fmt.Fprintf(&b, "container %s %s\n", c.Change, c.Name)
	}
	for _, o := range p.Orphans {
		fmt.Fprintf(&b, "orphan %s\n", o)
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%s\n", s)
	}
	return b.String()
}

// Objects prints the objects that the plan applies, as YAML.
func (p *Plan) Objects() string {
	var b strings.Builder
	for _, s := range p.Steps {
		if s.Object != nil {
			data, err := yaml.Marshal(s.Object)
			if err != nil {
				data = []byte(err.Error() + "\n")
			}
			b.WriteString("---\n" + string(data))
		}
	}
	return b.String()
}

func (s Step) String() string {
	out := s.Verb + " " + s.Kind + "/" + s.Name
	if s.Verb == Scale {
		out += fmt.Sprintf(" to %d", s.Replicas)
	}
	return out + " (" + s.Why + ")"
}
