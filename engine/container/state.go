package container

import "github.com/cuppa-project/cuppa/internal/errkind"

// moves is the life of a container: from each state, the states that may follow.
func moves(from State) []State {
	switch from {
	case Created:
		return []State{Running, Exited} // Exited at once when its process cannot be started
	case Running:
		return []State{Paused, Exited}
	case Paused:
		return []State{Running, Exited}
	default:
		return nil
	}
}

// Move returns the error of a move that the life of a container does not allow, or nil.
func (s State) Move(to State) error {
	for _, next := range moves(s) {
		if next == to {
			return nil
		}
	}
	return errkind.New(errkind.Precondition, "container is %s and cannot become %s", s, to)
}
