package load

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"go.yaml.in/yaml/v4"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// fileNames and overrideNames are looked for in this order; the first that exists wins.
func fileNames() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
}

func overrideNames() []string {
	return []string{"compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"}
}

// Location is where a project is and what it is called.
type Location struct {
	Name     string
	Explicit bool     // the user gave the name, by flag or environment
	Files    []string // absolute; empty if only the name is known
	Dir      string   // project folder, absolute
	Env      map[string]string
	Profiles []string
	Warnings []string
}

// Locate finds the files and the name of a project without loading it: enough for the verbs that look at what runs. With a name given, no file
// need exist.
func Locate(opts Options) (*Location, error) {
	loc := &Location{Env: maps.Clone(opts.Env)}
	if loc.Env == nil {
		loc.Env = map[string]string{}
	}
	cwd, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("find working directory: %w", err)
	}
	if err := loc.readEnv(cwd, opts.EnvFiles, false); err != nil {
		return nil, err
	}
	if err := loc.find(cwd, opts); err != nil {
		return nil, err
	}
	loc.Dir = cwd
	switch {
	case opts.ProjectDir != "":
		loc.Dir = absolute(cwd, opts.ProjectDir)
	case len(loc.Files) > 0 && loc.Files[0] != "-":
		loc.Dir = filepath.Dir(loc.Files[0])
	}
	if loc.Dir != cwd && len(opts.EnvFiles) == 0 {
		loc.Env = maps.Clone(opts.Env)
	}
	if err := loc.readEnv(loc.Dir, opts.EnvFiles, true); err != nil {
		return nil, err
	}
	loc.Profiles = opts.Profiles
	if p := loc.Env["COMPOSE_PROFILES"]; len(loc.Profiles) == 0 && p != "" {
		loc.Profiles = strings.Split(p, ",")
	}
	if err := loc.name(opts); err != nil {
		return nil, err
	}
	if len(loc.Files) == 0 && !loc.Explicit {
		return nil, errkind.New(errkind.NotFound, "no configuration file provided: not found")
	}
	return loc, nil
}

func (l *Location) find(cwd string, opts Options) error {
	files := opts.Files
	if env := l.Env["COMPOSE_FILE"]; len(files) == 0 && env != "" {
		sep := l.Env["COMPOSE_PATH_SEPARATOR"]
		if sep == "" {
			sep = string(os.PathListSeparator)
		}
		files = strings.Split(env, sep)
	}
	if len(files) > 0 {
		for _, f := range files {
			if f == "-" {
				l.Files = append(l.Files, f)
				continue
			}
			path := absolute(cwd, f)
			if _, err := os.Stat(path); err != nil {
				return errkind.New(errkind.NotFound, "compose file %q is invalid: open %s: no such file or directory", path, path)
			}
			l.Files = append(l.Files, path)
		}
		return nil
	}
	start := cwd
	if opts.ProjectDir != "" {
		start = absolute(cwd, opts.ProjectDir)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if found := existing(dir, fileNames()); len(found) > 0 {
			l.Files = l.choose(found, "config")
			if over := existing(dir, overrideNames()); len(over) > 0 {
				l.Files = append(l.Files, l.choose(over, "override")...)
			}
			return nil
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (l *Location) choose(found []string, what string) []string {
	if len(found) > 1 {
		l.Warnings = append(l.Warnings,
			fmt.Sprintf("Found multiple %s files with supported names: %s", what, strings.Join(found, ", ")),
			"Using "+found[0])
	}
	return found[:1]
}

func existing(dir string, names []string) []string {
	var found []string
	for _, n := range names {
		path := filepath.Join(dir, n)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			found = append(found, path)
		}
	}
	return found
}

// readEnv adds the variables of the env files that the environment does not set already. A .env that nobody asked for may be absent.
func (l *Location) readEnv(dir string, files []string, final bool) error {
	if env := l.Env["COMPOSE_ENV_FILES"]; len(files) == 0 && env != "" {
		files = strings.Split(env, ",")
	}
	asked := len(files) > 0
	if asked && !final {
		return nil
	}
	if !asked {
		files = []string{".env"}
	}
	var paths []string
	for _, f := range files {
		path := absolute(dir, f)
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			paths = append(paths, path)
		case asked:
			return errkind.New(errkind.NotFound, "couldn't find env file: %s", path)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	vars, err := dotenv.GetEnvFromFile(l.Env, paths)
	if err != nil {
		return errkind.New(errkind.Invalid, "%w", err)
	}
	for k, v := range vars {
		if _, set := l.Env[k]; !set {
			l.Env[k] = v
		}
	}
	return nil
}

// name settles the project's name: flag, environment, `name:` in the last file that has one, folder.
func (l *Location) name(opts Options) error {
	l.Name, l.Explicit = opts.ProjectName, opts.ProjectName != ""
	if !l.Explicit {
		l.Name = l.Env["COMPOSE_PROJECT_NAME"]
		l.Explicit = l.Name != ""
	}
	if l.Explicit {
		if Normalize(l.Name) != l.Name {
			return errkind.New(errkind.Invalid, "invalid project name %q: must consist only of lowercase alphanumeric characters, "+
				"hyphens, and underscores as well as start with a letter or number", l.Name)
		}
		return nil
	}
	for _, file := range l.Files {
		if file == "-" {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		var named struct {
			Name string `yaml:"name"`
		}
		// What is wrong with the file is said when it is loaded.
		if yaml.Unmarshal(content, &named) == nil && named.Name != "" {
			l.Name = named.Name
		}
	}
	if strings.Contains(l.Name, "$") {
		s, err := newSubstituter().substitute(l.Name, func(k string) (string, bool) { v, ok := l.Env[k]; return v, ok })
		if err != nil {
			return errkind.New(errkind.Invalid, "name: %w", err)
		}
		l.Name = s
	}
	if l.Name == "" {
		l.Name = filepath.Base(l.Dir)
	}
	if l.Name = Normalize(l.Name); l.Name == "" {
		return errkind.New(errkind.Invalid, "no project name can be made of the folder %s: give one with -p", l.Dir)
	}
	return nil
}

// Normalize makes a project name of any text, as docker compose does.
func Normalize(name string) string {
	keep := regexp.MustCompile(`[^a-z0-9_-]`)
	return strings.TrimLeft(keep.ReplaceAllString(strings.ToLower(name), ""), "_-")
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
