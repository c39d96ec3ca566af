package dockerapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The API version we speak, and the oldest whose requests mean the same.
const (
	apiVersion    = "1.47"
	minAPIVersion = "1.24"
)

// verb answers one request. The name is the part of the path that stands for an image or volume. An error becomes the answer, unless the
// answer has begun.
type verb func(w http.ResponseWriter, r *http.Request, name string) error

type route struct {
	method string
	path   *regexp.Regexp
	do     verb
}

// table lists everything behind the door, the first match wins. Names of images contain slashes, which is why these are patterns.
func (s *Server) table() []route {
	rows := []struct {
		method, path string
		do           verb
	}{
		{"GET", "/_ping", s.ping},
		{"HEAD", "/_ping", s.ping},
		{"GET", "/version", s.version},
		{"GET", "/info", s.info},
		{"POST", "/auth", s.auth},

		{"GET", "/images/json", s.imageList},
		{"GET", "/images/get", s.imageSave},
		{"GET", "/images/(.+)/get", s.imageSave},
		{"GET", "/images/(.+)/json", s.imageInspect},
		{"GET", "/images/(.+)/history", s.imageHistory},
		{"POST", "/images/load", s.imageLoad},
		{"POST", "/images/create", s.imagePull},
		{"POST", "/images/prune", s.imagePrune},
		{"POST", "/images/(.+)/push", s.imagePush},
		{"POST", "/images/(.+)/tag", s.imageTag},
		{"DELETE", "/images/(.+)", s.imageRemove},

		{"GET", "/volumes", s.volumeList},
		{"POST", "/volumes/create", s.volumeCreate},
		{"POST", "/volumes/prune", s.volumePrune},
		{"GET", "/volumes/([^/]+)", s.volumeInspect},
		{"DELETE", "/volumes/([^/]+)", s.volumeRemove},

		{"POST", "/grpc", s.buildControl},
		{"POST", "/session", s.buildSession},
		{"POST", "/build/prune", s.buildPrune},
	}
	table := make([]route, len(rows))
	for i, row := range rows {
		table[i] = route{row.method, regexp.MustCompile("^(?:/v[0-9]+\\.[0-9]+)?" + row.path + "$"), row.do}
	}
	return table
}

// ServeHTTP finds the verb.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Api-Version", apiVersion)
	h.Set("Ostype", "linux")
	h.Set("Server", "Cuppa/"+s.cfg.Version)
	h.Set("Docker-Experimental", "false")
	h.Set("Builder-Version", "2")
	for _, route := range s.routes {
		match := route.path.FindStringSubmatch(r.URL.Path)
		if match == nil || route.method != r.Method {
			continue
		}
		name := ""
		if len(match) > 1 {
			name = match[1]
		}
		if err := route.do(w, r, name); err != nil {
			s.fail(w, r, err)
		}
		return
	}
	s.fail(w, r, errkind.New(errkind.NotFound, "page not found: this socket serves images, volumes and builds; containers are reached through `cuppa` and `kubectl`"))
}

// status is the one place where kinds of errors become status codes.
func status(err error) int {
	switch errkind.Of(err) {
	case errkind.NotFound:
		return http.StatusNotFound
	case errkind.Exists, errkind.Conflict, errkind.Precondition:
		return http.StatusConflict
	case errkind.Invalid:
		return http.StatusBadRequest
	case errkind.Denied:
		return http.StatusForbidden
	case errkind.Unavailable:
		return http.StatusServiceUnavailable
	case errkind.Exhausted:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody listens
	}
	code := status(err)
	if code >= http.StatusInternalServerError {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	answer(w, code, map[string]string{"message": err.Error()})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a client that went away has no use for an error
}

// decode reads a JSON body of a moderate size.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return errkind.New(errkind.Invalid, "the request's body is too large")
		}
		return errkind.New(errkind.Invalid, "the request's body is no valid JSON: %w", err)
	}
	return nil
}

// filters reads the filters parameter: {"name":{"value":true}}, or {"name":["value"]} as old clients send it.
func filters(r *http.Request) (map[string][]string, error) {
	raw := r.URL.Query().Get("filters")
	if raw == "" {
		return nil, nil
	}
	out := map[string][]string{}
	var modern map[string]map[string]bool
	if json.Unmarshal([]byte(raw), &modern) == nil {
		for key, values := range modern {
			for value, on := range values {
				if on {
					out[key] = append(out[key], value)
				}
			}
		}
		return out, nil
	}
	if err := json.Unmarshal([]byte(raw), &out); err != nil {
		return nil, errkind.New(errkind.Invalid, "invalid filters: %w", err)
	}
	return out, nil
}

// flag reads a boolean parameter as docker does: anything but "", 0, no, false, none is true.
func flag(r *http.Request, name string) bool {
	switch strings.ToLower(strings.TrimSpace(r.URL.Query().Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}
