package apiserver

import "context"

// RemoveEvents lets tests do at once what is done every minute.
func (s *Server) RemoveEvents(ctx context.Context) { s.removeEvents(ctx) }
