package snapshot

import "github.com/cuppa-project/cuppa/internal/errkind"

// facts is what the choice of a driver depends on.
type facts struct {
	asked                 string // Config.Driver
	overlayErr            error  // why overlayfs cannot be used; nil if it can (or was not tried)
	hasOverlay, hasNative bool   // layers of that driver are on the disk already
}

// choice is the driver to open, and why it is not the better one.
type choice struct {
	driver string
	why    string
}

// choose decides on a driver. Layers that exist decide before taste does: a store that silently changed its driver would lose the roots
// of all its containers.
func choose(f facts) (choice, error) {
	switch f.asked {
	case "", Overlay, Native:
	default:
		return choice{}, errkind.New(errkind.Invalid, "unknown snapshot driver %q (known are %s and %s)", f.asked, Overlay, Native)
	}
	switch {
	case f.asked == Native:
		return choice{driver: Native}, nil
	case f.overlayErr == nil && f.hasNative && !f.hasOverlay && f.asked == "":
		return choice{driver: Native, why: "the layers on this disk were stored as copies"}, nil
	case f.overlayErr == nil:
		return choice{driver: Overlay}, nil
	case f.asked == Overlay:
		return choice{}, errkind.New(errkind.Unavailable, "overlayfs cannot be used here: %w", f.overlayErr)
	case f.hasOverlay:
		return choice{}, errkind.New(errkind.Unavailable,
			"overlayfs cannot be used any more, and layers on this disk need it: %w (load the overlay kernel module, or use another data directory)", f.overlayErr)
	default:
		return choice{driver: Native, why: "overlayfs cannot be used here: " + f.overlayErr.Error() + " (another data directory, on ext4 or xfs, saves room and time)"}, nil
	}
}
