package dockerapi

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/engine/volume"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// volumeRow is docker's shape of a volume.
func volumeRow(v volume.Volume) map[string]any {
	return map[string]any{
		"Name": v.Name, "Driver": "local", "Mountpoint": v.Path, "CreatedAt": v.Created.UTC().Format(time.RFC3339),
		"Labels": v.Labels, "Scope": "local", "Options": nil,
	}
}

func (s *Server) volumeList(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := filters(r)
	if err != nil {
		return err
	}
	list, err := s.cfg.Volumes.List()
	if err != nil {
		return err
	}
	out := []any{}
	for _, v := range list {
		if fits(v, want) {
			out = append(out, volumeRow(v))
		}
	}
	answer(w, http.StatusOK, map[string]any{"Volumes": out, "Warnings": []string{}})
	return nil
}

// fits applies the filters name (a part of it) and label.
func fits(v volume.Volume, want map[string][]string) bool {
	if names := want["name"]; len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(v.Name, n) }) {
		return false
	}
	for _, label := range want["label"] {
		key, value, valued := strings.Cut(label, "=")
		got, ok := v.Labels[key]
		if !ok || (valued && got != value) {
			return false
		}
	}
	return true
}

func (s *Server) volumeInspect(w http.ResponseWriter, _ *http.Request, name string) error {
	v, err := s.cfg.Volumes.Get(name)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, volumeRow(v))
	return nil
}

func (s *Server) volumeCreate(w http.ResponseWriter, r *http.Request, _ string) error {
	var ask struct {
		Name, Driver string
		DriverOpts   map[string]string
		Labels       map[string]string
	}
	if err := decode(w, r, &ask); err != nil {
		return err
	}
	if ask.Driver != "" && ask.Driver != "local" {
		return errkind.New(errkind.NotFound, "create %s: error looking up volume plugin %s: plugin not found", ask.Name, ask.Driver)
	}
	if len(ask.DriverOpts) > 0 {
		return errkind.New(errkind.Invalid, "create %s: driver options are not supported", ask.Name)
	}
	if ask.Name == "" {
		ask.Name = strings.ToLower(rand.Text() + rand.Text())
	}
	v, err := s.cfg.Volumes.Create(ask.Name, ask.Labels)
	if err != nil {
		return err
	}
	answer(w, http.StatusCreated, volumeRow(v))
	return nil
}

func (s *Server) volumeRemove(w http.ResponseWriter, r *http.Request, name string) error {
	if err := s.cfg.Volumes.Remove(name, flag(r, "force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// volumePrune removes unused volumes; those with a name somebody chose only if asked for all.
func (s *Server) volumePrune(w http.ResponseWriter, r *http.Request, _ string) error {
	want, err := filters(r)
	if err != nil {
		return err
	}
	all := slices.Contains(want["all"], "true") || slices.Contains(want["all"], "1")
	removed, freed, err := s.cfg.Volumes.Prune(func(v volume.Volume) bool {
		return !fits(v, map[string][]string{"label": want["label"]}) || (!all && !anonymous(v.Name))
	})
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"VolumesDeleted": orEmpty(removed), "SpaceReclaimed": freed})
	return nil
}

// anonymous recognises the names volumeCreate makes up, and docker's.
func anonymous(name string) bool {
	return (len(name) == 52 || len(name) == 64) && !strings.ContainsAny(name, "_.-")
}
