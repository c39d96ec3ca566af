package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// TestImages: what has to be built and pulled, for what is there and what was asked for.
func TestImages(t *testing.T) {
	service := func(name, image, policy string, build bool) *model.Service {
		s := &model.Service{Name: name, Image: image, PullPolicy: policy}
		if build {
			s.Build = &model.Build{Context: "/src/" + name}
		}
		return s
	}
	have := map[string]Image{"docker.io/library/redis:latest": {}, "docker.io/library/proj-web:latest": {}}
	for _, c := range []struct {
		about    string
		services []*model.Service
		opts     ImageOptions
		want     string
		kind     error
	}{
		{"all there", []*model.Service{service("db", "redis", "", false), service("web", "", "", true)}, ImageOptions{}, "", nil},
		{"asked to build", []*model.Service{service("db", "redis", "", false), service("web", "", "", true)}, ImageOptions{Build: true},
			"build docker.io/library/proj-web:latest from /src/web", nil},
		{"builds always", []*model.Service{service("web", "", "build", true)}, ImageOptions{}, "build docker.io/library/proj-web:latest from /src/web", nil},
		{"pulls always", []*model.Service{service("db", "redis", "always", false)}, ImageOptions{}, "pull docker.io/library/redis:latest", nil},
		{"asked to pull", []*model.Service{service("db", "redis", "", false)}, ImageOptions{Pull: "always"}, "pull docker.io/library/redis:latest", nil},
		{"missing", []*model.Service{service("db", "postgres:17", "", false)}, ImageOptions{}, "pull docker.io/library/postgres:17", nil},
		{"once for two", []*model.Service{service("a", "postgres", "", false), service("b", "docker.io/postgres:latest", "", false)}, ImageOptions{},
			"pull docker.io/library/postgres:latest", nil},
		{"one of two builds it", []*model.Service{service("a", "own", "", false), service("b", "own", "", true)}, ImageOptions{},
			"build docker.io/library/own:latest from /src/b", nil},
		{"missing, never pulled", []*model.Service{service("db", "postgres", "never", false)}, ImageOptions{},
			`service "db": no such image: postgres, and pulling is switched off`, errkind.NotFound},
		{"missing, not built", []*model.Service{service("api", "", "", true)}, ImageOptions{NoBuild: true},
			`service "api": the image proj-api is not there, and building is switched off`, errkind.Precondition},
	} {
		p := &model.Project{Name: "proj"}
		var names []string
		for _, s := range c.services {
			p.Services = append(p.Services, *s)
			names = append(names, s.Name)
		}
		needs, err := Images(p, names, have, c.opts)
		got := strings.Trim(fmt.Sprint(needs), "[]")
		if err != nil {
			got = err.Error()
		}
		if got != c.want || !errors.Is(err, c.kind) {
			t.Errorf("%s: got %s, want %s", c.about, got, c.want)
		}
	}
	if _, err := Images(&model.Project{Name: "proj"}, []string{"ghost"}, have, ImageOptions{}); !errors.Is(err, errkind.NotFound) {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestNamesOfImages(t *testing.T) {
	for ref, want := range map[string]string{
		"docker.io/library/redis:latest": "redis", "docker.io/library/redis:7": "redis:7", "registry.example.org:5000/a/b:latest": "registry.example.org:5000/a/b",
		"Not A Reference": "Not A Reference",
	} {
		if got := Familiar(ref); got != want {
			t.Errorf("%s is called %s, want %s", ref, got, want)
		}
	}
	if got := FullRef("Not A Reference"); got != "Not A Reference" {
		t.Errorf("what is no reference became %s", got)
	}
}

// TestLongNames: a name that gets too long for a label of DNS stays one, and stays its own.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("a", 60)
	one, other := PublishedName(long), PublishedName(long[:59]+"b")
	if len(one) > 63 || one == other || !strings.HasSuffix(one, "-published") {
		t.Errorf("got %q and %q", one, other)
	}
	if got := PublishedName("web"); got != "web-published" {
		t.Errorf("got %q", got)
	}
}

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		health *model.Health
		want   time.Duration
	}{
		{nil, defaultRetries * defaultInterval},
		{&model.Health{}, defaultRetries * defaultInterval},
		{&model.Health{Interval: time.Second, Retries: 5, StartPeriod: time.Minute, Timeout: 10 * time.Second}, time.Minute + 6*time.Second},
	} {
		if got := Patience(c.health); got != c.want {
			t.Errorf("%+v: %s, want %s", c.health, got, c.want)
		}
	}
	image := &model.Health{Test: []string{"CMD", "ok"}, Interval: time.Hour}
	if got := inherit(&model.Health{Interval: time.Second}, image); got.Interval != time.Second || got.Test[1] != "ok" {
		t.Errorf("the image's test with the service's timing: %+v", got)
	}
	if inherit(nil, image) != image || inherit(&model.Health{}, nil) != nil {
		t.Error("what only one of the two says is changed")
	}
}
