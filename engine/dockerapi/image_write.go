package dockerapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func (s *Server) imageLoad(w http.ResponseWriter, r *http.Request, _ string) error {
	out := newStream(w)
	report := func(p image.Progress) {
		if p.Status == "Extracting" {
			out.progress(image.Progress{ID: p.ID, Status: "Loading layer", Current: p.Current, Total: p.Total})
		}
	}
	if flag(r, "quiet") {
		report = nil
	}
	loaded, err := s.cfg.Images.Load(r.Context(), r.Body, max(r.ContentLength, 0), report)
	if err != nil {
		return out.end(err)
	}
	for _, img := range loaded {
		for _, name := range img.Names {
			out.send(message{Stream: "Loaded image: " + name + "\n"})
		}
		if len(img.Names) == 0 {
			out.send(message{Stream: "Loaded image ID: " + img.ID.String() + "\n"})
		}
	}
	return nil
}

// imagePull answers POST /images/create. Making an image from a bare file system (fromSrc) is not offered.
func (s *Server) imagePull(w http.ResponseWriter, r *http.Request, _ string) error {
	q := r.URL.Query()
	name, tag := q.Get("fromImage"), q.Get("tag")
	switch {
	case name == "":
		return errkind.New(errkind.Invalid, "an image is made by a build here: import a file system with a Dockerfile that says FROM scratch and ADD")
	case strings.HasPrefix(tag, "sha256:"):
		name += "@" + tag
	case tag != "":
		name += ":" + tag
	}
	if err := image.CheckPlatform(q.Get("platform")); err != nil {
		return err
	}
	auth, err := login(r)
	if err != nil {
		return err
	}
	out := newStream(w)
	_, err = s.cfg.Images.Pull(r.Context(), name, image.PullOptions{Auth: auth, Progress: out.progress})
	return out.end(err)
}

func (s *Server) imagePush(w http.ResponseWriter, r *http.Request, name string) error {
	if tag := r.URL.Query().Get("tag"); tag != "" {
		name += ":" + tag
	}
	auth, err := login(r)
	if err != nil {
		return err
	}
	out := newStream(w)
	pushed, err := s.cfg.Images.Push(r.Context(), name, image.PullOptions{Auth: auth, Progress: out.progress})
	if err != nil {
		return out.end(err)
	}
	out.send(message{Aux: pushed})
	return nil
}

// login reads the X-Registry-Auth header.
func login(r *http.Request) (image.Auth, error) {
	var auth image.Auth
	header := r.Header.Get("X-Registry-Auth")
	if header == "" {
		return auth, nil
	}
	// Clients disagree on padding.
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(header, "="))
	if err == nil {
		err = json.Unmarshal(data, &auth)
	}
	if err != nil {
		return auth, errkind.New(errkind.Invalid, "invalid X-Registry-Auth header: %w", err)
	}
	return auth, nil
}

func (s *Server) imageTag(w http.ResponseWriter, r *http.Request, name string) error {
	q := r.URL.Query()
	to := q.Get("repo")
	if tag := q.Get("tag"); tag != "" {
		to += ":" + tag
	}
	if err := s.cfg.Images.Tag(r.Context(), name, to); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// removedRow is docker's way to say what a removal did.
type removedRow struct {
	Untagged string `json:",omitempty"`
	Deleted  string `json:",omitempty"`
}

func rows(removed []image.Removed) []removedRow {
	out := []removedRow{}
	for _, r := range removed {
		out = append(out, removedRow(r))
	}
	return out
}

func (s *Server) imageRemove(w http.ResponseWriter, r *http.Request, name string) error {
	removed, err := s.cfg.Images.Remove(r.Context(), name, flag(r, "force"))
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, rows(removed))
	return nil
}

func (s *Server) imagePrune(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := filters(r)
	if err != nil {
		return err
	}
	all := slices.ContainsFunc(want["dangling"], func(v string) bool { return v == "false" || v == "0" })
	removed, freed, err := s.cfg.Images.Prune(r.Context(), all)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"ImagesDeleted": rows(removed), "SpaceReclaimed": freed})
	return nil
}
