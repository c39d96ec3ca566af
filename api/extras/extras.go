// Package extras is what Compose may ask of a node's engine for a pod that Kubernetes has no field for: devices, ulimits, a user by name.
//
// In the API it is one annotation on a pod or a pod template that holds one document in JSON, versioned and checked as a whole; admission lets
// nobody but Compose say it. Below the kubelet it is these Go values. It reads no object and does nothing of what it describes. Start with
// Document; validate.go has its rules.
package extras

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Version is the version of the document that this program writes, and the only one it reads.
const Version = "v1"

// Document is all that is asked for one pod.
type Document struct {
	Version string `json:"version"`
	// ShmSize is the size of the pod's /dev/shm in bytes; 0 is the engine's default.
	ShmSize int64 `json:"shmSize,omitempty"`
	// Containers has what each container asks for, by its name. Ephemeral containers have no part in it.
	Containers map[string]Container `json:"containers,omitempty"`
}

// Container is what is asked for one container. The zero value asks for nothing.
type Container struct {
	User         string            `json:"user,omitempty"`         // "name[:group]", which the image's passwd and group files know; before the pod's runAsUser
	Init         bool              `json:"init,omitempty"`         // a reaper runs as process 1
	StopSignal   string            `json:"stopSignal,omitempty"`   // "SIGUSR1", "USR1" or "10"
	ClearCommand bool              `json:"clearCommand,omitempty"` // the image's ENTRYPOINT does not count
	ClearArgs    bool              `json:"clearArgs,omitempty"`    // the image's CMD does not count
	UnsetEnv     []string          `json:"unsetEnv,omitempty"`     // variables of the image that the container does not get
	Fill         []string          `json:"fill,omitempty"`         // mounted folders that are filled from the image while they are empty
	Devices      []Device          `json:"devices,omitempty"`
	Ulimits      map[string]Ulimit `json:"ulimits,omitempty"` // by name, as "nofile"
	PidsLimit    int64             `json:"pidsLimit,omitempty"`
	CPU          *CPU              `json:"cpu,omitempty"`
	Memory       *Memory           `json:"memory,omitempty"`
}

// Device is a device of the node, or a folder of devices, that the container sees.
type Device struct {
	Host   string `json:"host"`
	Path   string `json:"path"`   // in the container
	Access string `json:"access"` // of r, w and m
}

// Ulimit is one limit of the container's processes; -1 is none.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// CPU is what Kubernetes's resources do not say about processors.
type CPU struct {
	Shares int64  `json:"shares,omitempty"` // weight beside others, 1024 is usual
	Set    string `json:"set,omitempty"`    // "0-3,7"
}

// Memory is what Kubernetes's resources do not say about memory.
type Memory struct {
	Swap       int64   `json:"swap,omitempty"`       // bytes of memory and swap together; -1 is no limit
	Swappiness *uint64 `json:"swappiness,omitempty"` // 0 to 100
}

// New returns a document of this version in which one container asks for something.
func New(container string, c Container) Document {
	d := Document{Version: Version}
	if len(c.Asks()) > 0 {
		d.Containers = map[string]Container{container: c}
	}
	return d
}

// String is the document's one form: the same wishes give the same text.
func (d Document) String() string {
	// Encoding plain data cannot fail.
	data, _ := json.Marshal(d)
	return string(data)
}

// Empty is true if nothing is asked for.
func (d Document) Empty() bool {
	for _, c := range d.Containers {
		if len(c.Asks()) > 0 {
			return false
		}
	}
	return d.ShmSize == 0
}

// Parse reads a document's text strictly: an unknown field, one in another case, or one that is there twice is an error.
func Parse(text string) (Document, error) {
	var d Document
	var version struct {
		Version string `json:"version"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &version); err != nil {
		return d, errkind.New(errkind.Invalid, "not a document in JSON: %w", err)
	}
	if version.Version != Version {
		return d, errkind.New(errkind.Invalid, "version %q is not known: this cluster reads %q", version.Version, Version)
	}
	strict, err := kjson.UnmarshalStrict([]byte(text), &d)
	if err != nil {
		return d, errkind.New(errkind.Invalid, "not a document in JSON: %w", err)
	}
	if len(strict) > 0 {
		return d, errkind.New(errkind.Invalid, "%w", strict[0])
	}
	return d, nil
}

// Reserved finds the annotations that only Compose may set, sorted.
func Reserved(annotations map[string]string) []string {
	var keys []string
	for key := range annotations {
		if strings.HasPrefix(key, api.EnginePrefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Of reads what a pod asks for by its annotations. A reserved annotation of another name is an error: it may have been a wish that narrows
// what the container may do, and to go on without it would widen that.
func Of(annotations map[string]string) (Document, error) {
	for _, key := range Reserved(annotations) {
		if key != api.AnnotationExtras {
			return Document{}, errkind.New(errkind.Invalid, "annotation %s is not known: what a pod asks of the engine is said in %s", key, api.AnnotationExtras)
		}
	}
	text, ok := annotations[api.AnnotationExtras]
	if !ok {
		return Document{Version: Version}, nil
	}
	d, err := Parse(text)
	if err != nil {
		return d, errkind.New(errkind.Invalid, "annotation %s: %w", api.AnnotationExtras, err)
	}
	return d, nil
}

// Asks names what is asked for, in the document's words.
func (c Container) Asks() []string {
	var out []string
	for _, f := range []struct {
		name  string
		asked bool
	}{
		{"user", c.User != ""}, {"init", c.Init}, {"stopSignal", c.StopSignal != ""}, {"clearCommand", c.ClearCommand}, {"clearArgs", c.ClearArgs},
		{"unsetEnv", len(c.UnsetEnv) > 0}, {"fill", len(c.Fill) > 0}, {"devices", len(c.Devices) > 0}, {"ulimits", len(c.Ulimits) > 0},
		{"pidsLimit", c.PidsLimit != 0}, {"cpu", c.CPU != nil}, {"memory", c.Memory != nil},
	} {
		if f.asked {
			out = append(out, f.name)
		}
	}
	return out
}

// Summary says for people what is asked for: `shmSize; container "web": devices, user`.
func (d Document) Summary() string {
	var parts []string
	if d.ShmSize != 0 {
		parts = append(parts, "shmSize")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Containers)) {
		if asks := d.Containers[name].Asks(); len(asks) > 0 {
			parts = append(parts, fmt.Sprintf("container %q: %s", name, strings.Join(asks, ", ")))
		}
	}
	return strings.Join(parts, "; ")
}
