package authz

import (
	"context"
	"errors"
	"strings"

	"github.com/cuppa-project/cuppa/api"
)

// Stage is one authorizer in a chain.
type Stage struct {
	Name string // for people and for figures
	Authorizer
}

// Chain is an ordered list of authorizers. The first that allows or denies decides; one that fails without deciding does not
// keep the others from being asked.
type Chain []Stage

// Default is the chain of a cluster. An authorizer that knows more (roles, a webhook) is one more row.
func Default(graph Graph) Chain {
	return Chain{
		{"NobodyAsCompose", Func(nobodyAsCompose)}, // before the superuser: that identity is had by its certificate alone
		{"Superuser", Func(superuser)},             // first: whatever else is wrong, an administrator can mend it
		{"Node", nodes{graph}},
		{"System", system()},
	}
}

// Authorize implements Authorizer. Without a decision the reasons of all stages are given, a line each.
func (c Chain) Authorize(ctx context.Context, req Request) (Decision, string, error) {
	var (
		reasons []string
		errs    []error
	)
	for _, stage := range c {
		decision, reason, err := stage.Authorize(ctx, req)
		if decision != NoOpinion {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return NoOpinion, strings.Join(reasons, "\n"), errors.Join(errs...)
}

// nobodyAsCompose keeps everybody, administrators too, from acting in the group of Compose's front end: what only it may do should be found
// under its own name.
func nobodyAsCompose(_ context.Context, req Request) (Decision, string, error) {
	if req.Verb == "impersonate" && req.Group == "" && req.Resource == "groups" && req.Name == api.GroupCompose {
		return Deny, "nobody may act as Compose: run `cuppa up` on the server's own machine", nil
	}
	return NoOpinion, "", nil
}

// superuser lets administrators do everything.
func superuser(_ context.Context, req Request) (Decision, string, error) {
	if req.User.In("system:masters") {
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}
