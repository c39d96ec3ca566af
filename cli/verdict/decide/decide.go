// Package decide answers the questions of cli/verdict: it has the machinery of JSON schemas.
//
// It is part of the large program. Start with Answer.
package decide

import (
	"bytes"
	"context"

	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/cli/verdict"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
)

// Answer says whether all documents are valid; if one is not, or the files were refused, it loads them anew to say why.
func Answer(ctx context.Context, q verdict.Question) verdict.Answer {
	valid := !q.Refused
	for _, doc := range q.Documents {
		valid = valid && specification.Valid(doc)
	}
	if valid {
		return verdict.Answer{}
	}
	opts := q.Options
	opts.Schema, opts.Stdin = specification.Findings, bytes.NewReader(q.Input)
	if _, err := load.Load(ctx, opts); err != nil {
		return verdict.Answer{Fault: heavy.FaultOf(err)}
	}
	return verdict.Answer{Again: true}
}
