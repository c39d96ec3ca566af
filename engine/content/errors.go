package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type kindRow struct {
	is   func(error) bool
	kind error
}

// kinds is the one table from containerd's error kinds to ours.
func kinds() []kindRow {
	return []kindRow{
		{snapshot.Full, errkind.Exhausted},
		{errdefs.IsNotFound, errkind.NotFound},
		{errdefs.IsAlreadyExists, errkind.Exists},
		{errdefs.IsInvalidArgument, errkind.Invalid},
		{errdefs.IsPermissionDenied, errkind.Denied},
		{errdefs.IsUnauthorized, errkind.Denied},
		{errdefs.IsFailedPrecondition, errkind.Precondition},
		{errdefs.IsConflict, errkind.Conflict},
		{errdefs.IsUnavailable, errkind.Unavailable},
		{errdefs.IsResourceExhausted, errkind.Exhausted},
		{errdefs.IsOutOfRange, errkind.Invalid},
		{errdefs.IsNotImplemented, errkind.Invalid},
	}
}

// Wrap gives err a kind of ours (Internal if nothing fits) and says what failed. A cancelled context stays recognisable and gets no kind.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	message := fmt.Sprintf(format, args...)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", message, err)
	}
	kind := errkind.Of(err)
	for _, row := range kinds() {
		if kind == nil && row.is(err) {
			kind = row.kind
		}
	}
	if kind == nil {
		kind = errkind.Internal
	}
	return errkind.New(kind, "%s: %w", message, err)
}
