package extras

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/api"
)

func whole() Document {
	swappiness := uint64(10)
	return Document{Version: Version, ShmSize: 1 << 20, Containers: map[string]Container{"web": {
		User: "app:www", Init: true, StopSignal: "SIGUSR1", ClearCommand: true, ClearArgs: true, UnsetEnv: []string{"LANG"}, Fill: []string{"/data"},
		Devices: []Device{{Host: "/dev/fuse", Path: "/dev/fuse", Access: "rwm"}}, Ulimits: map[string]Ulimit{"nofile": {Soft: 1024, Hard: 2048}, "core": {Soft: -1, Hard: -1}},
		PidsLimit: 100, CPU: &CPU{Shares: 512, Set: "0-1,3"}, Memory: &Memory{Swap: -1, Swappiness: &swappiness},
	}}}
}

func TestRoundTrip(t *testing.T) {
	for name, d := range map[string]Document{"whole": whole(), "nothing": {Version: Version}, "one": New("web", Container{Init: true})} {
		got, err := Of(map[string]string{api.AnnotationExtras: d.String(), "other": "x"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if problems := got.Validate([]string{"web"}); len(problems) > 0 {
			t.Errorf("%s: got problems %v, want none", name, problems)
		}
	}
	if !New("web", Container{}).Empty() || whole().Empty() || (Document{ShmSize: 1}).Empty() {
		t.Error("Empty tells wishes from none wrongly")
	}
	want := `shmSize; container "web": user, init, stopSignal, clearCommand, clearArgs, unsetEnv, fill, devices, ulimits, pidsLimit, cpu, memory`
	if got := whole().Summary(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseIsStrict(t *testing.T) {
	for text, want := range map[string]string{
		``:                                "not a document in JSON",
		`[]`:                              "not a document in JSON",
		`{}`:                              `version "" is not known: this cluster reads "v1"`,
		`{"version":"v2","wings":true}`:   `version "v2" is not known`,
		`{"version":"v1","wings":true}`:   `unknown field "wings"`,
		`{"version":"v1","ShmSize":1}`:    `unknown field "ShmSize"`,
		`{"version":"v1","shmSize":"1"}`:  "not a document in JSON",
		`{"version":"v1","version":"v1"}`: `duplicate field "version"`,
		`{"version":"v1","containers":{"a":{"user":"x"},"a":{}}}`:                  `duplicate field "containers.a"`,
		`{"version":"v1","containers":{"a":{"devices":[{"host":"/x","hots":1}]}}}`: `unknown field "containers.a.devices[0].hots"`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestUnknownKeyIsAnError holds that a reserved annotation that this version does not know is not passed over: it may have been a wish for less.
func TestUnknownKeyIsAnError(t *testing.T) {
	_, err := Of(map[string]string{"engine.cuppa.dev/user": "nobody", api.AnnotationExtras: `{"version":"v1"}`})
	if err == nil || !strings.Contains(err.Error(), "annotation engine.cuppa.dev/user is not known") {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Document, *Container)
		want   string
	}{
		"version":        {func(d *Document, _ *Container) { d.Version = "" }, `version: : must be "v1"`},
		"shm":            {func(d *Document, _ *Container) { d.ShmSize = -1 }, "shmSize: -1: must not be negative"},
		"user":           {func(_ *Document, c *Container) { c.User = "a:b:c" }, "containers[web].user: a:b:c: must be a name or number, and a group after a colon if need be"},
		"no user":        {func(_ *Document, c *Container) { c.User = ":" }, "containers[web].user: :: must be a name or number, and a group after a colon if need be"},
		"group alone":    {func(_ *Document, c *Container) { c.User = ":7" }, ""},
		"signal":         {func(_ *Document, c *Container) { c.StopSignal = "SIGFLY" }, "containers[web].stopSignal: SIGFLY: must be a signal's name or number"},
		"env":            {func(_ *Document, c *Container) { c.UnsetEnv = []string{"A=b"} }, "containers[web].unsetEnv[0]: A=b: must be the name of a variable"},
		"fill":           {func(_ *Document, c *Container) { c.Fill = []string{"/a", "b"} }, "containers[web].fill[1]: b: must be an absolute path"},
		"device":         {func(_ *Document, c *Container) { c.Devices[0].Host = "/dev/../etc" }, "containers[web].devices[0].host: /dev/../etc: must be an absolute path on the node"},
		"device path":    {func(_ *Document, c *Container) { c.Devices[0].Path = "/" }, "containers[web].devices[0].path: /: must be an absolute path in the container"},
		"device access":  {func(_ *Document, c *Container) { c.Devices[0].Access = "rx" }, "containers[web].devices[0].access: rx: must be of the letters r, w and m"},
		"ulimit":         {func(_ *Document, c *Container) { c.Ulimits = map[string]Ulimit{"wings": {}} }, "containers[web].ulimits[wings]: wings: must be one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack"},
		"ulimit's order": {func(_ *Document, c *Container) { c.Ulimits["nofile"] = Ulimit{2, 1} }, "containers[web].ulimits[nofile].soft: 2: must not be above the hard limit, 1"},
		"ulimit's end":   {func(_ *Document, c *Container) { c.Ulimits["nofile"] = Ulimit{-1, 1} }, "containers[web].ulimits[nofile].soft: -1: must not be above the hard limit, 1"},
		"ulimit's sign":  {func(_ *Document, c *Container) { c.Ulimits["nofile"] = Ulimit{-2, -1} }, "containers[web].ulimits[nofile].soft: -2: must not be negative, but for -1, which is no limit"},
		"pids":           {func(_ *Document, c *Container) { c.PidsLimit = -2 }, "containers[web].pidsLimit: -2: must be a number of processes, or -1 for no limit"},
		"shares":         {func(_ *Document, c *Container) { c.CPU.Shares = 1 }, "containers[web].cpu.shares: 1: must be between 2 and 262144"},
		"cpu set":        {func(_ *Document, c *Container) { c.CPU.Set = "0-" }, "containers[web].cpu.set: 0-: must be a list of processors, as 0-3,7"},
		"swap":           {func(_ *Document, c *Container) { c.Memory.Swap = -2 }, "containers[web].memory.swap: -2: must be a number of bytes, or -1 for no limit"},
		"swappiness":     {func(_ *Document, c *Container) { *c.Memory.Swappiness = 101 }, "containers[web].memory.swappiness: 101: must be between 0 and 100"},
		"stranger":       {func(d *Document, _ *Container) { d.Containers["db"] = Container{Init: true} }, "containers[db]: db: the pod has no container of this name"},
	} {
		t.Run(name, func(t *testing.T) {
			d := whole()
			web := d.Containers["web"]
			c.change(&d, &web)
			d.Containers["web"] = web
			var got []string
			for _, p := range d.Validate([]string{"init", "web"}) {
				got = append(got, p.String())
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	for text, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "sigusr1": 10, "9": 9, "SIGRTMIN+3": 37, "SIGRTMAX-1": 63, "SIGRTMIN": 34} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "SIGFLY", "0", "65", "SIGRTMAX+1"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}

// FuzzParse holds that no text makes the reading or the checking panic, and that what was read is written as it was.
func FuzzParse(f *testing.F) {
	f.Add(whole().String())
	f.Add(`{"version":"v1","containers":{"a":{"ulimits":{"x":{}}}}}`)
	f.Add(`{"version":"v1","containers":{"a":{"cpu":null,"devices":[null]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		d.Validate([]string{"a"})
		d.Summary()
		again, err := Parse(d.String())
		if err != nil {
			t.Fatalf("%s was read, but not %s: %v", text, d, err)
		}
		if again.String() != d.String() {
			t.Errorf("%s became %s", d, again)
		}
	})
}
