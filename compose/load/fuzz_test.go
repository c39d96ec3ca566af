package load_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/compose/load"
)

// FuzzLoad reads any bytes as a Compose file: whatever they are, there is a project or an error that says something, the same each time, and a
// project's hashes do not depend on the order of a map.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if filepath.Base(part.Name) == "compose.yaml" {
				f.Add(part.Data)
			}
		}
	}
	for _, text := range []string{
		"", "services:", "services: {a: }", "services: {a: {image: x, ports: ['']}}", "services: {a: {image: x, ports: ['1-:2']}}", "a: &a [*a]",
		"services: {a: {image: x, ulimits: {nofile: -1, core: {soft: -1, hard: 99999999999999999999}}}}",
		"services: {a: {image: x, devices: [':', '::', '/dev/x:/y:rwmz']}}",
		"services: {a: {image: x, tmpfs: ['', ':size=', '/x:size=9999999999999999999g']}}",
		"services: {a: {image: x, healthcheck: {test: []}}}", "services: {a: {image: x, healthcheck: {test: [CMD-SHELL]}}}",
		"services: {a: {image: x, volumes: ['', ':', '::', 'a:b:c:d']}}", "services: {a: {image: '$', command: '${A:-${B}}'}}",
		"services: {a: {image: x, deploy: {resources: {limits: {cpus: '-1', memory: '1'}}}}}", "services: {a: {image: x, restart: 'on-failure:99999999999999999999'}}",
		"services: {a: {image: x, links: [':', 'b:', ':c']}}", "services: {a: {image: x, extra_hosts: [':', '=']}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		once := func() (hashes []string, text string) {
			r, err := load.Load(t.Context(), load.Options{Dir: dir, ProjectName: "proj", Env: map[string]string{}})
			if err != nil {
				if err.Error() == "" {
					t.Fatal("an error without a word")
				}
				return nil, err.Error()
			}
			for _, s := range r.Project.Services {
				hashes = append(hashes, s.Name+" "+s.Hash(r.Project))
			}
			return hashes, ""
		}
		first, text := once()
		again, same := once()
		if text != same || len(first) != len(again) {
			t.Fatalf("the first time %q and %d services, then %q and %d", text, len(first), same, len(again))
		}
		for i := range first {
			if first[i] != again[i] {
				t.Fatalf("the first time %s, then %s", first[i], again[i])
			}
		}
	})
}
