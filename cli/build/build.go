// Package build says what is to be built: the words in which the verbs speak to a builder.
//
// Building itself is in buildkit below, which is large and therefore no part of the small program that people start. Start with Image.
package build

import (
	"context"

	"github.com/cuppa-project/cuppa/compose/model"
)

// Image is one image to build.
type Image struct {
	Service string
	Ref     string
	Spec    *model.Build
	NoCache bool
	Pull    bool
}

// Options are how builds show themselves.
type Options struct {
	Progress string // auto, plain, tty, quiet
	Quiet    bool
}

// Func builds images, all at once.
type Func func(ctx context.Context, images []Image, opts Options) error

// Question is what another program is asked to build, and at which engine.
type Question struct {
	Socket  string
	Images  []Image
	Options Options
}
