package plan

import (
	"fmt"
	"slices"

	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Need is an image that has to be made or fetched before the services can run.
type Need struct {
	Service string
	Name    string // as the user sees it
	Ref     string
	Build   *model.Build // nil: pull
}

// ImageOptions say when images are made and fetched.
type ImageOptions struct {
	Build   bool   // --build: build even if the image is there
	NoBuild bool   // --no-build
	Pull    string // --pull: always, missing, never; "" leaves it to the services
}

// Images lists what has to be built and pulled for the named services, given the images that are there. Services that share an image need it
// once.
func Images(p *model.Project, names []string, have map[string]Image, opts ImageOptions) ([]Need, error) {
	var out []Need
	for _, name := range names {
		s, ok := p.Service(name)
		if !ok {
			return nil, errkind.New(errkind.NotFound, "no such service: %s", name)
		}
		need := Need{Service: name, Name: ImageName(p.Name, s), Ref: ImageRef(p.Name, s)}
		_, present := have[need.Ref]
		policy := s.PullPolicy
		if opts.Pull != "" {
			policy = opts.Pull
		}
		build := s.Build != nil && !opts.NoBuild && (opts.Build || !present || s.PullPolicy == "build")
		switch {
		case build:
			need.Build = s.Build
		case s.Build != nil && !present:
			return nil, errkind.New(errkind.Precondition, "service %q: the image %s is not there, and building is switched off", name, need.Name)
		case s.Build != nil || present && policy != "always":
			continue
		case !present && policy == "never":
			return nil, errkind.New(errkind.NotFound, "service %q: no such image: %s, and pulling is switched off", name, need.Name)
		}
		if i := slices.IndexFunc(out, func(o Need) bool { return o.Ref == need.Ref }); i >= 0 {
			if out[i].Build == nil {
				out[i].Build = need.Build
			}
			continue
		}
		out = append(out, need)
	}
	return out, nil
}

func (n Need) String() string {
	if n.Build != nil {
		return fmt.Sprintf("build %s from %s", n.Ref, n.Build.Context)
	}
	return "pull " + n.Ref
}
