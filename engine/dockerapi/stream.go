package dockerapi

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/cuppa-project/cuppa/engine/image"
)

// message is one line of a progress stream.
type message struct {
	Stream   string       `json:"stream,omitempty"`
	Status   string       `json:"status,omitempty"`
	ID       string       `json:"id,omitempty"`
	Progress *amount      `json:"progressDetail,omitempty"`
	Error    string       `json:"error,omitempty"`
	Detail   *errorDetail `json:"errorDetail,omitempty"`
	Aux      any          `json:"aux,omitempty"`
}

type amount struct {
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
}

type errorDetail struct {
	Message string `json:"message"`
}

// stream answers with a line of JSON per event. The status line goes out with the first of them: work that fails before that can still
// answer with its error's own status.
type stream struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	begun bool
}

func newStream(w http.ResponseWriter) *stream { return &stream{w: w} }

func (s *stream) send(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/json")
		s.w.WriteHeader(http.StatusOK)
	}
	if json.NewEncoder(s.w).Encode(m) == nil {
		_ = http.NewResponseController(s.w).Flush()
	}
}

func (s *stream) progress(p image.Progress) {
	m := message{Status: p.Status, ID: p.ID}
	if p.ID != "" {
		m.Progress = &amount{Current: p.Current, Total: p.Total}
	}
	s.send(m)
}

// end turns an error into the stream's last line, or gives it back if nothing was sent yet.
func (s *stream) end(err error) error {
	if err == nil || !s.begun {
		return err
	}
	s.send(message{Error: err.Error(), Detail: &errorDetail{err.Error()}})
	return nil
}
