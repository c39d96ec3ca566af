package apiserver

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/authz"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// judge answers what the kinds of reviews ask, by the server's own authenticator and authorizers.
type judge struct{ s *Server }

// Access implements registry.Judge.
func (j judge) Access(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	question := authz.Request{User: authn.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups}}
	for key, values := range spec.Extra {
		if question.User.Extra == nil {
			question.User.Extra = map[string][]string{}
		}
		question.User.Extra[key] = values
	}
	if a := spec.ResourceAttributes; a != nil {
		question.Verb, question.Namespace, question.Name = a.Verb, a.Namespace, a.Name
		question.Group, question.Version, question.Resource, question.Subresource = a.Group, a.Version, a.Resource, a.Subresource
	} else if a := spec.NonResourceAttributes; a != nil {
		question.Verb, question.Path = a.Verb, a.Path
	}
	decision, reason, err := j.s.may.Authorize(ctx, question)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authz.Allow, Denied: decision == authz.Deny, Reason: reason}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

// Rules implements registry.Judge. Only an administrator's rules can be listed: those of the system's own identities are conditions.
func (j judge) Rules(_ context.Context, user authenticationv1.UserInfo, _ string) authorizationv1.SubjectRulesReviewStatus {
	all := []string{"*"}
	if (authn.User{Groups: user.Groups}).In(api.GroupMasters) {
		return authorizationv1.SubjectRulesReviewStatus{
			ResourceRules:    []authorizationv1.ResourceRule{{Verbs: all, APIGroups: all, Resources: all}},
			NonResourceRules: []authorizationv1.NonResourceRule{{Verbs: all, NonResourceURLs: all}},
		}
	}
	return authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    []authorizationv1.ResourceRule{},
		NonResourceRules: []authorizationv1.NonResourceRule{},
		Incomplete:       true,
		EvaluationError:  "what this identity may do cannot be listed; ask about one thing at a time (kubectl auth can-i VERB RESOURCE)",
	}
}

// Token implements registry.Judge.
func (j judge) Token(ctx context.Context, spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
	user, audiences, err := j.s.who.Token(ctx, spec.Token, spec.Audiences)
	if err != nil {
		return authenticationv1.TokenReviewStatus{Error: err.Error()}
	}
	return authenticationv1.TokenReviewStatus{Authenticated: true, User: rest.UserInfo(user), Audiences: audiences}
}
