package plan_test

import (
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// passive are the fields of a service that the objects of the plan do not show, each with where it acts.
var passive = map[string]string{
	"PullPolicy":            "images are pulled before; only `never` is for the node as well",
	"Profiles":              "load has left out what no profile enables",
	"NoAttach":              "says whose output `up` shows",
	"GlobalMode":            "load warns of it",
	"Networks":              "load warns when they would part services",
	"Resources.OOMScoreAdj": "load warns of it",
}

// values are good values where any value would not do.
var values = map[string]any{
	"Name": "other", "NetworkMode": "host", "Scale": 2, "User": "7:7", "Groups": []string{"7"}, "Hostname": "there",
	"DependsOn":  []model.Dependency{{Service: "db", Condition: "service_healthy", Required: true}},
	"Ports":      []model.Port{{Published: "8000", Target: 80, Protocol: "tcp"}},
	"Links":      []model.Link{{Service: "db", Alias: "database"}},
	"ExtraHosts": []model.HostName{{Name: "gate", IP: "10.0.0.1"}},
	"DNS":        []string{"10.0.0.2"}, "DNSSearch": []string{"example.com"}, "DNSOptions": []string{"ndots:2"},
	"Mounts":     []model.Mount{{Kind: model.Named, Source: "data", Target: "/data"}},
	"Configs":    []model.FileRef{{Source: "conf", Target: "/conf"}},
	"Secrets":    []model.FileRef{{Source: "pass", Target: "/pass"}},
	"Restart":    model.Restart{Policy: "on-failure"},
	"Health":     &model.Health{Test: []string{"CMD", "check"}},
	"Update":     &model.Update{Parallelism: 2, Delay: time.Second},
	"Aliases":    []string{"alias"},
	"Devices":    []string{"/dev/fuse:/dev/fuse:rwm"},
	"StopSignal": "SIGUSR1", "CapAdd": []string{"NET_ADMIN"}, "CapDrop": []string{"ALL"},
	"Env": map[string]*string{"A": new(string)}, "Labels": map[string]string{"a": "b"}, "Annotations": map[string]string{"a": "b"},
	"Sysctls": map[string]string{"net.core.somaxconn": "1"}, "Ulimits": map[string]model.Ulimit{"nofile": {Soft: 1, Hard: 2}},
	"NodeLabel": map[string]string{"a": "b"}, "Command": &[]string{"c"}, "Entrypoint": &[]string{"e"},
	"StopGracePeriod": time.Minute, "ShmSize": int64(1 << 20), "Resources": model.Resources{CPULimit: 7},
}

// TestEveryFieldActs: whatever a file can say of a service changes what is made of it, or is known not to, with the reason. A field that is read
// from the file and then forgotten would be a promise that nobody keeps.
func TestEveryFieldActs(t *testing.T) {
	base := objects(t, model.Service{})
	typ := reflect.TypeFor[model.Service]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		t.Run(name, func(t *testing.T) {
			var s model.Service
			field := reflect.ValueOf(&s).Elem().Field(i)
			if v, ok := values[name]; ok {
				field.Set(reflect.ValueOf(v))
			} else {
				plain(t, field)
			}
			acts(t, name, objects(t, s) != base)
		})
	}
}

// TestEveryResourceActs is the same for each resource, which are many in one field.
func TestEveryResourceActs(t *testing.T) {
	base := objects(t, model.Service{})
	typ := reflect.TypeFor[model.Resources]()
	for i := range typ.NumField() {
		name := "Resources." + typ.Field(i).Name
		t.Run(name, func(t *testing.T) {
			var s model.Service
			field := reflect.ValueOf(&s.Resources).Elem().Field(i)
			if plain(t, field); name == "Resources.CPUSet" {
				field.SetString("0-1")
			}
			acts(t, name, objects(t, s) != base)
		})
	}
}

func acts(t *testing.T, name string, changed bool) {
	t.Helper()
	switch why, known := passive[name]; {
	case !changed && !known:
		t.Errorf("%s is read from the file and does nothing: make it act, or warn of it in load and name it here", name)
	case changed && known:
		t.Errorf("%s acts, although it is said not to (%s)", name, why)
	}
}

// plain gives a field of a simple type a value.
func plain(t *testing.T, field reflect.Value) {
	t.Helper()
	switch field.Kind() {
	case reflect.String:
		field.SetString("x")
	case reflect.Bool:
		field.SetBool(true)
	case reflect.Int, reflect.Int64:
		field.SetInt(7)
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
		plain(t, field.Elem())
	case reflect.Uint64:
		field.SetUint(7)
	case reflect.Slice:
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		plain(t, field.Index(0))
	case reflect.Struct:
	default:
		t.Fatalf("a field of a kind that is not thought of: %s", field.Type())
	}
}

var hash = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// objects is what is made of a service in a project with another one, without the hashes, which always change.
func objects(t *testing.T, s model.Service) string {
	t.Helper()
	if s.Name == "" {
		s.Name = "web"
	}
	if s.Image == "" {
		s.Image = "image"
	}
	if s.Scale == 0 {
		s.Scale = 1
	}
	p := &model.Project{Name: "proj", Dir: "/src", Services: []model.Service{{Name: "db", Image: "db", Scale: 1}, s},
		Volumes: map[string]model.Volume{"data": {Name: "data"}}, Configs: map[string]model.File{"conf": {Name: "conf"}}, Secrets: map[string]model.File{"pass": {Name: "pass"}}}
	made, err := plan.Up(p, &plan.State{}, plan.Options{VolumeRoot: "/volumes"})
	if err != nil {
		t.Fatal(err)
	}
	return hash.ReplaceAllString(made.String()+made.Objects(), "HASH")
}
