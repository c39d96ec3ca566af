package house

// State are the variables of packages that may change while the program runs, each with its reason. Everything else that changes belongs to a
// value that somebody makes, owns and hands on.
var State = map[string]string{
	"internal/testkit/leak.process": "all checks of a test program look at one process and one machine",
}

// Elsewhere are the variables of other packages that ours write to, each with its reason: such a change is seen by the whole process.
var Elsewhere = map[string]string{
	"apiserver/storage/etcd: wal.SegmentSizeBytes": "etcd has no other way to say how much its log takes in advance",
	"cmd/cuppa: schema.Judge":                      "the library's own judge of documents is replaced when the front program starts",
	"cli/kubectl: os.Args":                         "kubectl reads the program's arguments itself, and shows them in its help",
}

// Labels are the labels that figures may have, each with what bounds the number of its values. A row of figures is kept for as long as the
// process lives, so nothing that a client, an image or a user makes up may be a label.
var Labels = map[string]string{
	"verb":         "metrics.Verb: a table",
	"subresource":  "those of the kinds that are served; of other paths, metrics.Path: a table",
	"group":        "the kinds that are served",
	"version":      "the kinds that are served",
	"resource":     "the kinds that are served",
	"scope":        "three words",
	"code":         "the codes that the server answers with",
	"dry_run":      "yes or no",
	"component":    "one word",
	"request_kind": "reading and writing",
	"reason":       "one word",
	"name":         "controller.All: the table of controllers",
	"certificate":  "the few certificates that a server holds",
}

// Aliases are the names under which packages with unspeaking names are imported, the same in every file. Those of k8s.io/api follow a rule, group
// and version, and need no line.
var Aliases = map[string]string{
	"k8s.io/apimachinery/pkg/api/errors":   "apierrors",
	"k8s.io/apimachinery/pkg/apis/meta/v1": "metav1",
}

// Long are the functions and files beyond the hard bounds of size, with the reason why no seam was found.
var Long = map[string]string{}
