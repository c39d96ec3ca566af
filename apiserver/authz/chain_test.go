package authz

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/authn"
)

func says(decision Decision, reason string, err error) Stage {
	return Stage{Name: reason, Authorizer: Func(func(context.Context, Request) (Decision, string, error) { return decision, reason, err })}
}

func TestChain(t *testing.T) {
	away := errors.New("its webhook is away")
	for name, c := range map[string]struct {
		chain  Chain
		want   Decision
		reason string
		answer string // of May; empty: allowed
	}{
		"nobody":                            {nil, NoOpinion, "", `cannot get resource "pods"`},
		"the first decision counts: allow":  {Chain{says(NoOpinion, "a", nil), says(Allow, "b", nil), says(Deny, "c", nil)}, Allow, "b", ""},
		"the first decision counts: deny":   {Chain{says(NoOpinion, "a", nil), says(Deny, "b", nil), says(Allow, "c", nil)}, Deny, "b", `at the cluster scope: b`},
		"all reasons are told":              {Chain{says(NoOpinion, "a", nil), says(NoOpinion, "", nil), says(NoOpinion, "c", nil)}, NoOpinion, "a\nc", "a\nc"},
		"a failure does not end the asking": {Chain{says(NoOpinion, "", away), says(Allow, "b", nil)}, Allow, "b", ""},
		"a failure is no refusal":           {Chain{says(NoOpinion, "", away), says(NoOpinion, "", nil)}, NoOpinion, "", "Internal error occurred: authorize: its webhook is away"},
		"a failure that denies is one":      {Chain{says(Deny, "closed", away), says(Allow, "", nil)}, Deny, "closed", "at the cluster scope: closed"},
	} {
		t.Run(name, func(t *testing.T) {
			req := Request{User: authn.User{Name: "u"}, Verb: "get", Resource: "pods"}
			decision, reason, _ := c.chain.Authorize(context.Background(), req)
			if decision != c.want || reason != c.reason {
				t.Errorf("%v, %q; want %v, %q", decision, reason, c.want, c.reason)
			}
			err := May(context.Background(), c.chain, req)
			if (err == nil) != (c.answer == "") || (err != nil && !strings.Contains(err.Error(), c.answer)) {
				t.Errorf("answer %v, want %q", err, c.answer)
			}
			if failed := strings.HasPrefix(c.answer, "Internal"); failed != apierrors.IsInternalError(err) {
				t.Errorf("answer %v, want an internal error: %v", err, failed)
			}
		})
	}
}
