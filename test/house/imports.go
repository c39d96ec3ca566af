// Package house holds the rules of the repository as tests: which folder may import which, that every package says what it is, and
// that nothing runs before main.
//
// The table below is the one in docs/ARCHITECTURE.md; change both in one commit. Test files are free: they may use any exported suite.
package house

// Rule says what the folders below Dir may import of this module, besides their own children. The longest Dir that fits a package counts.
type Rule struct {
	Dir   string
	May   []string // folders of this module
	Never []string // import paths (prefixes) of others
	Why   string
}

// Imports is the table of arrows.
var Imports = []Rule{
	{"internal", nil, []string{"k8s.io/", "go.etcd.io/"}, "small named pieces that anyone may use"},
	{"internal/testkit", []string{"internal"}, nil, "helpers of tests"},
	{"api", []string{"internal"}, []string{"k8s.io/client-go"}, "our own constants and types"},
	{"kube", []string{"api", "internal"}, nil, "how loops see the API; app joins it to the server"},
	{"apiserver", []string{"api", "internal"}, []string{"k8s.io/apiserver/pkg/server", "k8s.io/client-go/informers"}, "meets the loops only through the API"},
	{"controller", []string{"kube", "api", "internal"}, nil, "the table of all controllers"},
	{"scheduler", []string{"kube", "api", "internal"}, nil, "meets nodes and pods only through the API"},
	{"kubelet", []string{"kube", "api", "internal"}, nil, "the runtime comes in as CRI's interfaces"},
	{"engine", []string{"internal"}, []string{"k8s.io/"}, "usable alone"},
	{"engine/cri", []string{"engine", "api", "internal"}, []string{"k8s.io/client-go"}, "a door of the engine"},
	{"engine/dockerapi", []string{"engine", "api", "internal"}, []string{"k8s.io/"}, "a door of the engine"},
	{"network", []string{"internal"}, []string{"k8s.io/"}, "plain values in, kernel state out"},
	{"network/agent", []string{"network", "kube", "api", "internal"}, nil, "feeds the parts from the API"},
	{"compose", []string{"api", "internal"}, []string{"k8s.io/client-go"}, "load, model and plan are pure"},
	{"compose/apply", []string{"compose", "kube", "api", "internal"}, nil, "carries plans out through the API"},
	{"cli", []string{"compose", "compose/apply", "kube", "api", "internal"}, nil, "speaks to sockets and to the API, as any client"},
	{"dashboard", []string{"kube", "api", "internal"}, nil, "reads through kube; no private API"},
	{"app", []string{""}, nil, "the composition root wires everything"},
	{"sim", []string{""}, nil, "runs the real parts"},
	{"test", []string{""}, nil, "tests everything"},
	{"cmd/cuppa", []string{"cli", "api", "internal"}, []string{"k8s.io/client-go/kubernetes", "k8s.io/kubectl"}, "starts in milliseconds: see testdata/front.deps"},
	{"cmd/cuppa-heavy", []string{"app", "cli", "api", "internal"}, nil, "all that is slow to start"},
	{"cmd/cuppa-helper", []string{"engine", "network", "internal"}, []string{"k8s.io/"}, "stays small: it runs beside every container"},
}

// Islands are folders whose children may not import each other, but for those named as shared.
var Islands = map[string][]string{
	"controller":      {"loop", "owned"},
	"apiserver/kinds": {"meta", "check", "podspec", "workload", "core"},
}

// Bases are folders that their whole room stands on: they import none of their neighbours.
var Bases = map[string]string{
	"apiserver/registry": "the vocabulary of kinds, which everything in the room speaks",
}

// Forbidden may be imported nowhere: it is what this project builds.
const Forbidden = "k8s.io/kubernetes"

// Modules are the Go modules of the repository, with the reason for each. Only those that say so may require what is Forbidden.
var Modules = map[string]struct {
	Upstream bool
	Why      string
}{
	".":                         {false, "the product"},
	"examples/dockercoins":      {false, "an application, as its users would have it"},
	"test/conformance/upstream": {true, "pins the suite that the product is held against; it has no code"},
}

// Inits are the files that may have an init function, with the reason.
var Inits = map[string]string{
	"cmd/cuppa-helper":  "libcontainer re-executes the program as a container's init",
	"cli/kubectl/quiet": "kubectl's message catalogues must be switched off before the packages that read them start",
}
