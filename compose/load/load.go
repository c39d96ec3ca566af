// Package load reads Compose files into the project model: finding them, merging, interpolating, checking.
//
// compose-go does the Compose Specification's part. This package adds what it lacks: files of version 1 and the old keys of version 2, all
// errors at once with file, line and a suggestion, one warning for each key Cuppa does not support, and the checks that compose-go leaves to
// the engine. It knows nothing of Kubernetes and changes nothing. Start with Load; Locate is its fast little sister for verbs that need no
// more than the project's name.
package load

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v4"

	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Options says which project. The zero value is the one in Dir.
type Options struct {
	Dir         string // working directory; "" is the process's
	Files       []string
	ProjectName string
	ProjectDir  string
	EnvFiles    []string
	Profiles    []string
	Services    []string // services named on the command line: they are enabled whatever their profiles
	Env         map[string]string
	Stdin       io.Reader `json:"-"` // for the file "-"
	// NoInterpolate leaves variables as they are. The result is fit for printing only.
	NoInterpolate bool
	// Schema tells where a document, in JSON, differs from the Compose Specification's schema. Without one, files that compose-go refuses end in
	// ErrUndecided.
	Schema func(doc []byte) ([]Finding, error) `json:"-"`
}

// Result is a loaded project.
type Result struct {
	Project  *model.Project
	Source   *types.Project // compose-go's view, for `config`
	Location *Location
	Warnings []string
}

// Load reads the project. An error about the files' content is Problems.
func Load(ctx context.Context, opts Options) (*Result, error) {
	// compose-go reports through a logger of the whole process; what matters of it is found and said here.
	logrus.SetOutput(io.Discard)
	loc, err := Locate(opts)
	if err != nil {
		return nil, err
	}
	if len(loc.Files) == 0 {
		return nil, errkind.New(errkind.NotFound, "no configuration file provided: not found")
	}
	j := &job{opts: opts, loc: loc, vars: newSubstituter()}
	if err := j.read(); err != nil {
		return nil, err
	}
	project, err := j.compose(ctx)
	if err != nil {
		return nil, err
	}
	if problems := check(project, j.sources); len(problems) > 0 {
		return nil, problems.sorted()
	}
	warnings := append(loc.Warnings, j.vars.warnings()...)
	warnings = append(warnings, j.unsupported...)
	m, more := convert(project, loc)
	return &Result{Project: m, Source: project, Location: loc, Warnings: append(warnings, more...)}, nil
}

// job is one run of Load.
type job struct {
	opts        Options
	loc         *Location
	sources     []*source
	files       []types.ConfigFile
	vars        *substituter
	unsupported []string
}

// read parses all files and stops at syntax errors, of which it reports all.
func (j *job) read() error {
	var problems Problems
	for _, path := range j.loc.Files {
		content, show, err := j.content(path)
		if err != nil {
			return err
		}
		src, found := parse(path, show, content)
		problems = append(problems, found...)
		j.sources = append(j.sources, src)
		if src.root == nil {
			continue
		}
		var copy yaml.Node
		if err := yaml.Unmarshal(content, &copy); err == nil && len(copy.Content) > 0 {
			if modern, changed := modernise(copy.Content[0]); changed {
				if content, err = yaml.Marshal(modern); err != nil {
					return fmt.Errorf("rewrite %s: %w", show, err)
				}
			}
		}
		j.files = append(j.files, types.ConfigFile{Filename: path, Content: content})
	}
	if len(problems) > 0 {
		return problems.sorted()
	}
	return nil
}

func (j *job) content(path string) ([]byte, string, error) {
	if path == "-" {
		content, err := io.ReadAll(j.opts.Stdin)
		return content, "stdin", err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	return content, j.show(path), nil
}

// show shortens a path of the project to what the user would type.
func (j *job) show(path string) string {
	if rel, err := filepath.Rel(j.loc.Dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// compose lets compose-go load the files and explains its errors.
func (j *job) compose(ctx context.Context) (*types.Project, error) {
	project, err := j.project(ctx)
	if err != nil {
		return nil, err
	}
	var enable []string
	for _, name := range j.opts.Services {
		if _, disabled := project.DisabledServices[name]; disabled {
			enable = append(enable, name)
		}
	}
	if len(enable) > 0 {
		if project, err = project.WithServicesEnabled(enable...); err != nil {
			return nil, j.diagnose(err)
		}
	}
	return project, nil
}

// project runs compose-go. A value of a kind that it did not expect, such as a number beyond all bounds, makes it panic: that is a fault in
// the file, and is told as one.
func (j *job) project(ctx context.Context) (project *types.Project, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			var names []string
			for _, f := range j.files {
				names = append(names, j.show(f.Filename))
			}
			project, err = nil, errkind.New(errkind.Invalid, "%s: a value is not of the kind that its key takes: %v", strings.Join(names, ", "), cause)
		}
	}()
	details := types.ConfigDetails{WorkingDir: j.loc.Dir, ConfigFiles: j.files, Environment: j.loc.Env}
	project, err = loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName(j.loc.Name, true)
		o.Profiles = j.loc.Profiles
		o.SkipConsistencyCheck = true
		o.SkipInterpolation = j.opts.NoInterpolate
		o.Interpolate.Substitute = j.vars.substitute
		o.UnsupportedAttributesCheck = &loader.UnsupportedAttributesCheck{Supported: supported(), Report: j.report}
	})
	if err != nil {
		return nil, j.diagnose(err)
	}
	return project, nil
}
