package image

import (
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// removal is what a removal will do.
type removal struct {
	untag  []string // short names
	delete bool     // the image itself goes
}

func (r removal) untags(name string) bool { return slices.Contains(r.untag, name) }

func removeAll(img Image) removal {
	return removal{untag: slices.Concat(img.Tags, img.Digests), delete: true}
}

// planRemoval decides by docker's rules. user is a container root made from the image, "" for none.
func planRemoval(img Image, ref string, force bool, user string) (removal, error) {
	name := ShortName(ref)
	byName := slices.Contains(img.Tags, name) || slices.Contains(img.Digests, name)
	if !byName {
		switch {
		case len(repositories(img)) > 1 && !force:
			return removal{}, errkind.New(errkind.Conflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", shortID(img))
		case user != "" && !force:
			return removal{}, errkind.New(errkind.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by container %s", shortID(img), user)
		}
		return removeAll(img), nil
	}
	left := removal{untag: []string{name}}
	// The digests of a repository are names of second rank: they go with its last tag.
	repo := repository(name)
	tagsLeft := slices.DeleteFunc(slices.Clone(img.Tags), func(t string) bool { return t == name || repository(t) != repo })
	if len(tagsLeft) == 0 {
		for _, d := range img.Digests {
			if repository(d) == repo && d != name {
				left.untag = append(left.untag, d)
			}
		}
	}
	left.delete = len(left.untag) == len(img.Tags)+len(img.Digests)
	if left.delete && user != "" && !force {
		return removal{}, errkind.New(errkind.Conflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", ref, user, shortID(img))
	}
	return left, nil
}

func repositories(img Image) []string {
	var repos []string
	for _, name := range slices.Concat(img.Tags, img.Digests) {
		if repo := repository(name); !slices.Contains(repos, repo) {
			repos = append(repos, repo)
		}
	}
	return repos
}

func shortID(img Image) string { return strings.TrimPrefix(img.ID.String(), "sha256:")[:12] }
