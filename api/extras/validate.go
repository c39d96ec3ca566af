package extras

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/api"
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	Field  string // within the document, as `containers[web].ulimits[nofile].soft`
	Value  any
	Detail string
}

// String is the problem in one line.
func (p Problem) String() string { return fmt.Sprintf("%s: %v: %s", p.Field, p.Value, p.Detail) }

// problems collects them under a field.
type problems struct {
	at   string
	list *[]Problem
}

func (p problems) in(format string, args ...any) problems {
	at := fmt.Sprintf(format, args...)
	if p.at != "" {
		at = p.at + "." + at
	}
	return problems{at, p.list}
}

func (p problems) check(good bool, value any, detail string, args ...any) {
	if !good {
		*p.list = append(*p.list, Problem{p.at, value, fmt.Sprintf(detail, args...)})
	}
}

// Validate returns all that is wrong with the document for a pod that has containers of these names, init containers among them; in order.
func (d Document) Validate(containers []string) []Problem {
	var list []Problem
	p := problems{list: &list}
	p.in("version").check(d.Version == Version, d.Version, "must be %q", Version)
	p.in("shmSize").check(d.ShmSize >= 0, d.ShmSize, "must not be negative")
	for _, name := range slices.Sorted(maps.Keys(d.Containers)) {
		at := p.in("containers[%s]", name)
		at.check(slices.Contains(containers, name), name, "the pod has no container of this name")
		d.Containers[name].validate(at)
	}
	return list
}

func (c Container) validate(p problems) {
	p.in("user").check(validUser(c.User), c.User, "must be a name or number, and a group after a colon if need be")
	if c.StopSignal != "" {
		_, err := ParseSignal(c.StopSignal)
		p.in("stopSignal").check(err == nil, c.StopSignal, "must be a signal's name or number")
	}
	for i, name := range c.UnsetEnv {
		p.in("unsetEnv[%d]", i).check(name != "" && !strings.ContainsAny(name, "=\x00"), name, "must be the name of a variable")
	}
	for i, folder := range c.Fill {
		p.in("fill[%d]", i).check(absolute(folder), folder, "must be an absolute path")
	}
	for i, d := range c.Devices {
		d.validate(p.in("devices[%d]", i))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ulimits)) {
		at := p.in("ulimits[%s]", name)
		at.check(slices.Contains(Ulimits(), name), name, "must be one of %s", strings.Join(Ulimits(), ", "))
		c.Ulimits[name].validate(at)
	}
	p.in("pidsLimit").check(c.PidsLimit >= -1, c.PidsLimit, "must be a number of processes, or -1 for no limit")
	c.CPU.validate(p.in("cpu"))
	c.Memory.validate(p.in("memory"))
}

func (d Device) validate(p problems) {
	p.in("host").check(absolute(d.Host), d.Host, "must be an absolute path on the node")
	p.in("path").check(absolute(d.Path) && d.Path != "/", d.Path, "must be an absolute path in the container")
	p.in("access").check(validAccess(d.Access), d.Access, "must be of the letters r, w and m")
}

func (u Ulimit) validate(p problems) {
	p.in("soft").check(u.Soft >= -1, u.Soft, "must not be negative, but for -1, which is no limit")
	p.in("hard").check(u.Hard >= -1, u.Hard, "must not be negative, but for -1, which is no limit")
	p.in("soft").check(u.Hard == -1 || u.Soft != -1 && u.Soft <= u.Hard, u.Soft, "must not be above the hard limit, %d", u.Hard)
}

func (c *CPU) validate(p problems) {
	if c == nil {
		return
	}
	p.in("shares").check(c.Shares == 0 || c.Shares >= 2 && c.Shares <= 262144, c.Shares, "must be between 2 and 262144")
	p.in("set").check(c.Set == "" || cpuSet().MatchString(c.Set), c.Set, "must be a list of processors, as 0-3,7")
}

func (m *Memory) validate(p problems) {
	if m == nil {
		return
	}
	p.in("swap").check(m.Swap >= -1, m.Swap, "must be a number of bytes, or -1 for no limit")
	if m.Swappiness != nil {
		p.in("swappiness").check(*m.Swappiness <= 100, *m.Swappiness, "must be between 0 and 100")
	}
}

// Ulimits are the names of the limits that Linux knows.
func Ulimits() []string {
	return []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
		"rss", "rtprio", "rttime", "sigpending", "stack"}
}

func absolute(p string) bool {
	return path.IsAbs(p) && !strings.Contains(p, "\x00") && !slices.Contains(strings.Split(p, "/"), "..")
}

func validAccess(text string) bool {
	return text != "" && strings.Trim(text, "rwm") == "" && len(text) <= 3
}

func validUser(text string) bool {
	user, group, grouped := strings.Cut(text, ":")
	return text == "" || !strings.ContainsAny(text, "\x00\n") && !strings.Contains(group, ":") && user+group != "" && (!grouped || group != "")
}

func cpuSet() *regexp.Regexp { return regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`) }

// Check reads what annotations ask for and validates it, for a pod with containers of these names. Without problems the annotations are good.
func Check(annotations map[string]string, containers []string) []Problem {
	d, err := Of(annotations)
	if err != nil {
		return []Problem{{Value: annotations[api.AnnotationExtras], Detail: err.Error()}}
	}
	return d.Validate(containers)
}
