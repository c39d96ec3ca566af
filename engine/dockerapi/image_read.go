package dockerapi

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/engine/image"
)

func (s *Server) imageList(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := filters(r)
	if err != nil {
		return err
	}
	if old := r.URL.Query().Get("filter"); old != "" { // how clients before 1.25 asked
		want = map[string][]string{"reference": {old}}
	}
	list, err := s.cfg.Images.List(r.Context())
	if err != nil {
		return err
	}
	out := []map[string]any{}
	for _, img := range list {
		if tags, ok := selected(img, want); ok {
			img.Tags = tags
			out = append(out, summary(img))
		}
	}
	answer(w, http.StatusOK, out)
	return nil
}

// selected says whether the filters let an image through, and with which of its tags.
func selected(img image.Image, want map[string][]string) ([]string, bool) {
	tags := img.Tags
	for key, values := range want {
		switch key {
		case "dangling":
			if slices.Contains(values, "true") != img.Dangling() {
				return nil, false
			}
		case "label":
			for _, label := range values {
				key, value, valued := strings.Cut(label, "=")
				got, ok := img.Config.Config.Labels[key]
				if !ok || (valued && got != value) {
					return nil, false
				}
			}
		case "reference":
			tags = slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
				return !slices.ContainsFunc(values, func(pattern string) bool { return matches(pattern, tag) })
			})
			if len(tags) == 0 {
				return nil, false
			}
		}
	}
	return tags, true
}

// matches tells whether a tag fits a pattern such as "redis", "redis:7*" or "example.org/*/web".
func matches(pattern, tag string) bool {
	repo := tag
	if i := strings.LastIndex(tag, ":"); i > strings.LastIndex(tag, "/") {
		repo = tag[:i]
	}
	for _, candidate := range []string{tag, repo} {
		if ok, _ := path.Match(pattern, candidate); ok {
			return true
		}
	}
	return image.ShortName(pattern) == tag
}

func summary(img image.Image) map[string]any {
	return map[string]any{
		"Id": img.ID.String(), "ParentId": "", "RepoTags": orEmpty(img.Tags), "RepoDigests": orEmpty(img.Digests), "Created": created(img).Unix(),
		"Size": img.Size, "SharedSize": -1, "Labels": img.Config.Config.Labels, "Containers": -1,
	}
}

// created is when the image was made; zero for reproducible images, which docker shows as such.
func created(img image.Image) time.Time {
	if img.Created.IsZero() {
		return time.Unix(0, 0)
	}
	return img.Created
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Server) imageInspect(w http.ResponseWriter, r *http.Request, name string) error {
	img, err := s.cfg.Images.Inspect(r.Context(), name)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{
		"Id": img.ID.String(), "RepoTags": orEmpty(img.Tags), "RepoDigests": orEmpty(img.Digests), "Parent": "", "Comment": "", "DockerVersion": "",
		"Created": created(img).UTC().Format(time.RFC3339Nano), "Author": img.Config.Author, "Config": img.Config.Config,
		"Architecture": img.Config.Architecture, "Variant": img.Config.Variant, "Os": img.Config.OS, "OsVersion": img.Config.OSVersion, "Size": img.Size,
		"GraphDriver": map[string]any{"Name": s.cfg.Driver, "Data": nil},
		"RootFS":      map[string]any{"Type": img.Config.RootFS.Type, "Layers": img.Config.RootFS.DiffIDs},
		"Metadata":    map[string]any{"LastTagTime": img.Tagged},
		"Descriptor":  img.Target,
	})
	return nil
}

func (s *Server) imageHistory(w http.ResponseWriter, r *http.Request, name string) error {
	img, err := s.cfg.Images.Inspect(r.Context(), name)
	if err != nil {
		return err
	}
	out := []map[string]any{}
	for i := len(img.Config.History) - 1; i >= 0; i-- {
		step := img.Config.History[i]
		row := map[string]any{"Id": "<missing>", "CreatedBy": step.CreatedBy, "Comment": step.Comment, "Size": 0, "Tags": nil, "Created": int64(0)}
		if step.Created != nil {
			row["Created"] = step.Created.Unix()
		}
		if len(out) == 0 {
			row["Id"], row["Tags"] = img.ID.String(), img.Tags
		}
		out = append(out, row)
	}
	answer(w, http.StatusOK, out)
	return nil
}

// imageSave writes one image or several as an archive.
func (s *Server) imageSave(w http.ResponseWriter, r *http.Request, name string) error {
	names := r.URL.Query()["names"]
	if name != "" {
		names = []string{name}
	}
	for _, n := range names { // an unknown name must be an error, not a torn archive
		if _, err := s.cfg.Images.Inspect(r.Context(), n); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if err := s.cfg.Images.Save(r.Context(), w, names...); err != nil {
		s.log.Warn("image archive was cut short", "images", names, "err", err)
		panic(http.ErrAbortHandler) // the only way left to tell the client
	}
	return nil
}
