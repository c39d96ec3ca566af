// Package errkind is the closed set of error kinds that Cuppa's parts speak.
//
// It is not an error type of its own for every part: an error is made with New or Wrap,
// carries one kind, and is tested with errors.Is(err, errkind.NotFound). Doors (HTTP, CRI,
// the command line) turn kinds into status codes in one place each.
package errkind

import (
	"errors"
	"fmt"
)

// The kinds. Each is a plain sentinel; an error has at most one of them.
var (
	NotFound     = errors.New("not found")           // the named thing does not exist
	Exists       = errors.New("already exists")      // the name is taken
	Conflict     = errors.New("conflict")            // it changed meanwhile; read again and retry
	Invalid      = errors.New("invalid")             // the request can never succeed as it is
	Denied       = errors.New("denied")              // the caller may not do this
	Unavailable  = errors.New("unavailable")         // try again later
	Precondition = errors.New("failed precondition") // the thing is in a state that forbids this
	Expired      = errors.New("expired")             // the asked revision is gone; start over
	Exhausted    = errors.New("exhausted")           // no room, no address, no port left
	Internal     = errors.New("internal")            // a defect of ours
)

type kinded struct {
	kind error
	msg  string
	err  error
}

func (e *kinded) Error() string { return e.msg }

func (e *kinded) Is(target error) bool { return target == e.kind }

func (e *kinded) Unwrap() error { return e.err }

// New returns an error of the kind. The format may wrap one other error with %w.
func New(kind error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &kinded{kind: kind, msg: err.Error(), err: errors.Unwrap(err)}
}

func kinds() []error {
	return []error{NotFound, Exists, Conflict, Invalid, Denied, Unavailable, Precondition, Expired, Exhausted, Internal}
}

// Of returns the kind of err, or nil if it has none.
func Of(err error) error {
	for _, kind := range kinds() {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// Named returns the kind with a name, which is its text, or nil if there is none. It is for errors that came from another process.
func Named(name string) error {
	for _, kind := range kinds() {
		if kind.Error() == name {
			return kind
		}
	}
	return nil
}
