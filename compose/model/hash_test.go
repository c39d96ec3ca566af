package model

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// onPurpose is what to do when a hash has changed.
const onPurpose = `The hashes of services that nobody changed have changed: with this release, the next "up" would make every container of such a service
anew, on every machine. If that was not meant, undo it: keep names, order and json tags of the fields of Service, and let a new field be left
out while it has no value (omitempty, omitzero). A field of a new kind is a new line, and takes no other line with it. If containers have to
be made anew (because what they are made of has changed its meaning), say so in the release's notes and run: go test ./compose/model -update`

// TestHashes holds the hash of a service for each of its fields, set alone, and of some whole services. A release that changes one recreates
// the containers of everybody who uses that field.
func TestHashes(t *testing.T) {
	var out strings.Builder
	project := &Project{Configs: map[string]File{"x": {Content: []byte("config")}}, Secrets: map[string]File{"x": {Content: []byte("secret")}}}
	write := func(name string, s Service) { fmt.Fprintf(&out, "%s %s\n", s.Hash(project), name) }
	write("(nothing)", Service{})
	for _, f := range fields(reflect.TypeFor[Service]()) {
		if f.hashed {
			var s Service
			f.set(reflect.ValueOf(&s).Elem())
			write(f.path, s)
		}
	}
	services := whole()
	for _, name := range slices.Sorted(maps.Keys(services)) {
		write("service "+name, services[name])
	}
	testkit.Golden(t, "hashes.golden", out.String())
	if t.Failed() {
		t.Log(onPurpose)
	}
}

// whole are services as people write them.
func whole() map[string]Service {
	port := func(published string, target uint16) Port {
		return Port{Published: published, Target: target, Protocol: "tcp"}
	}
	text := func(s string) *string { return &s }
	return map[string]Service{
		"web": {Name: "web", Image: "nginx:1.27", Ports: []Port{port("8000", 80), port("8443", 443)}, Restart: Restart{Policy: "always"},
			StopGracePeriod: 10 * time.Second, Networks: []string{"default"}, Mounts: []Mount{{Kind: Bind, Source: "/srv/web", Target: "/usr/share/nginx/html", ReadOnly: true}}},
		"db": {Name: "db", Image: "postgres:17", Env: map[string]*string{"POSTGRES_PASSWORD": text("secret"), "PGDATA": nil}, Restart: Restart{Policy: "unless-stopped"},
			StopGracePeriod: time.Minute, Networks: []string{"back"}, Mounts: []Mount{{Kind: Named, Source: "proj_data", Target: "/var/lib/postgresql"}},
			Health: &Health{Test: []string{"CMD-SHELL", "pg_isready"}, Interval: 5 * time.Second, Retries: 3}},
		"job": {Name: "job", Image: "busybox", Command: &[]string{"sh", "-c", "exit 0"}, Restart: Restart{Policy: "no"}, StopGracePeriod: 10 * time.Second},
	}
}

// field is a place in a service where there is a value.
type field struct {
	path   string
	hashed bool
	set    func(root reflect.Value) // gives it a value that is not its zero
}

// fields lists all places below a struct, the inner ones of structs in lists and behind pointers too.
func fields(typ reflect.Type) []field {
	var all []field
	for i := range typ.NumField() {
		f := typ.Field(i)
		hashed := f.Tag.Get("json") != "-"
		inner, open := opened(f.Type)
		all = append(all, field{f.Name, hashed, func(root reflect.Value) { root.Field(i).Set(value(f.Type)) }})
		if inner == nil {
			continue
		}
		for _, sub := range fields(inner) {
			all = append(all, field{f.Name + "." + sub.path, hashed && sub.hashed, func(root reflect.Value) { sub.set(open(root.Field(i))) }})
		}
	}
	return all
}

// opened finds the struct inside a type, if there is one, and how to come to it.
func opened(typ reflect.Type) (reflect.Type, func(reflect.Value) reflect.Value) {
	switch typ.Kind() {
	case reflect.Struct:
		return typ, func(v reflect.Value) reflect.Value { return v }
	case reflect.Pointer:
		if typ.Elem().Kind() == reflect.Struct {
			return typ.Elem(), func(v reflect.Value) reflect.Value {
				if v.IsNil() {
					v.Set(reflect.New(typ.Elem()))
				}
				return v.Elem()
			}
		}
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Struct {
			return typ.Elem(), func(v reflect.Value) reflect.Value {
				if v.Len() == 0 {
					v.Set(reflect.MakeSlice(typ, 1, 1))
				}
				return v.Index(0)
			}
		}
	}
	return nil, nil
}

// value makes a value of any type that a service has, in which nothing is zero.
func value(typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(value(typ.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, value(typ.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(value(typ.Key()), value(typ.Elem()))
	case reflect.Struct:
		for i := range typ.NumField() {
			v.Field(i).Set(value(typ.Field(i).Type))
		}
	default:
		panic("a field of a kind that is not thought of: " + typ.String())
	}
	return v
}

// TestHashSeesEveryField: a change of any field makes a new container, but for those that are marked, which never do.
func TestHashSeesEveryField(t *testing.T) {
	project := &Project{}
	for _, f := range fields(reflect.TypeFor[Service]()) {
		// A struct that is there and empty may differ from none at all: the field's own part is looked at.
		without, with := Service{}, Service{}
		around(&without, f.path)
		around(&with, f.path)
		f.set(reflect.ValueOf(&with).Elem())
		if got := with.Hash(project) != without.Hash(project); got != f.hashed {
			t.Errorf("%s: the hash changes: %v, want %v", f.path, got, f.hashed)
		}
	}
}

// around makes the structs that a field is in.
func around(s *Service, path string) {
	v := reflect.ValueOf(s).Elem()
	for parts := strings.Split(path, "."); len(parts) > 1; parts = parts[1:] {
		f := v.FieldByName(parts[0])
		_, open := opened(f.Type())
		v = open(f)
	}
}

// TestHashSeesContents: a config or secret that changes makes a new container, one that the service does not use does not.
func TestHashSeesContents(t *testing.T) {
	s := Service{Configs: []FileRef{{Source: "used", Target: "/a"}}, Secrets: []FileRef{{Source: "used", Target: "/b"}}}
	project := func(config, secret, other string) *Project {
		return &Project{Configs: map[string]File{"used": {Content: []byte(config)}, "unused": {Content: []byte(other)}},
			Secrets: map[string]File{"used": {Content: []byte(secret)}}}
	}
	was := s.Hash(project("1", "2", "3"))
	for _, c := range []struct {
		name    string
		project *Project
		same    bool
	}{
		{"nothing", project("1", "2", "3"), true},
		{"the config", project("x", "2", "3"), false},
		{"the secret", project("1", "x", "3"), false},
		{"a config that it does not use", project("1", "2", "x"), true},
		{"config for secret", project("2", "1", "3"), false},
	} {
		if got := s.Hash(c.project) == was; got != c.same {
			t.Errorf("change of %s: the hash stays: %v, want %v", c.name, got, c.same)
		}
	}
}

func chain() *Project {
	return &Project{Services: []Service{
		{Name: "app", DependsOn: []Dependency{{Service: "db"}, {Service: "cache"}}},
		{Name: "cache", DependsOn: []Dependency{{Service: "seed"}}},
		{Name: "db"},
		{Name: "seed", DependsOn: []Dependency{{Service: "db"}}},
		{Name: "solo"},
	}}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		names string
		want  string
	}{
		{"app cache db seed solo", "[[db solo] [seed] [cache] [app]]"},
		{"app db", "[[db] [app]]"},
		{"app cache", "[[cache] [app]]"},
		{"solo unknown", "[[solo unknown]]"},
		{"", "[]"},
	} {
		if got := fmt.Sprint(chain().Levels(strings.Fields(c.names))); got != c.want {
			t.Errorf("levels of %q: %s, want %s", c.names, got, c.want)
		}
	}
	// load refuses circles; should one come through, this must end all the same.
	circle := &Project{Services: []Service{{Name: "a", DependsOn: []Dependency{{Service: "b"}}}, {Name: "b", DependsOn: []Dependency{{Service: "a"}}}}}
	if got := circle.Levels([]string{"a", "b"}); len(got) == 0 {
		t.Errorf("levels of a circle: %v", got)
	}
}

func TestWithDependencies(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  []string
	}{
		{nil, []string{"app", "cache", "db", "seed", "solo"}},
		{[]string{"cache"}, []string{"cache", "db", "seed"}},
		{[]string{"solo", "db", "gone"}, []string{"db", "solo"}},
	} {
		if diff := cmp.Diff(c.want, chain().WithDependencies(c.names)); diff != "" {
			t.Errorf("%v with what it depends on (-want +got):\n%s", c.names, diff)
		}
	}
	if _, ok := chain().Service("gone"); ok {
		t.Error("a service that is not there is found")
	}
}
