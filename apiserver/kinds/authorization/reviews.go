package authorization

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// review is what the rows of this group have in common.
func review(kind, resource, singular string, of func() registry.Object) *registry.Kind {
	return &registry.Kind{
		GVK:      authorizationv1.SchemeGroupVersion.WithKind(kind),
		Resource: resource,
		Singular: singular,
		Verbs:    []string{"create"},
		Storage:  registry.Virtual,
		New:      of,
	}
}

// subjectAccessReviews is the row of SubjectAccessReview: whether somebody may do something.
func subjectAccessReviews() *registry.Kind {
	k := review("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", func() registry.Object { return &authorizationv1.SubjectAccessReview{} })
	k.ValidateCreate = meta.Faults(validateSubjectAccess)
	k.Answer = func(ctx context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
		r := obj.(*authorizationv1.SubjectAccessReview)
		r.Status = from.Judge.Access(ctx, r.Spec)
		return r, nil
	}
	return k
}

// localSubjectAccessReviews is the row of LocalSubjectAccessReview: the same within one namespace, so that asking can be granted there.
func localSubjectAccessReviews() *registry.Kind {
	k := review("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview",
		func() registry.Object { return &authorizationv1.LocalSubjectAccessReview{} })
	k.Namespaced = true
	k.ValidateCreate = meta.Faults(validateLocalAccess)
	k.Answer = func(ctx context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
		r := obj.(*authorizationv1.LocalSubjectAccessReview)
		r.Status = from.Judge.Access(ctx, r.Spec)
		return r, nil
	}
	return k
}

// selfSubjectAccessReviews is the row of SelfSubjectAccessReview: whether the caller may do something (kubectl auth can-i).
func selfSubjectAccessReviews() *registry.Kind {
	k := review("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview",
		func() registry.Object { return &authorizationv1.SelfSubjectAccessReview{} })
	k.ValidateCreate = meta.Faults(validateSelfAccess)
	k.Answer = func(ctx context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
		r := obj.(*authorizationv1.SelfSubjectAccessReview)
		r.Status = from.Judge.Access(ctx, asked(from.User, r.Spec))
		return r, nil
	}
	return k
}

// asked is the caller's question in the form of one about anybody.
func asked(user authenticationv1.UserInfo, spec authorizationv1.SelfSubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewSpec {
	out := authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: spec.ResourceAttributes, NonResourceAttributes: spec.NonResourceAttributes,
		User: user.Username, UID: user.UID, Groups: user.Groups}
	for key, values := range user.Extra {
		if out.Extra == nil {
			out.Extra = map[string]authorizationv1.ExtraValue{}
		}
		out.Extra[key] = authorizationv1.ExtraValue(values)
	}
	return out
}

// selfSubjectRulesReviews is the row of SelfSubjectRulesReview: all that the caller may do in a namespace (kubectl auth can-i --list).
func selfSubjectRulesReviews() *registry.Kind {
	k := review("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview",
		func() registry.Object { return &authorizationv1.SelfSubjectRulesReview{} })
	k.ValidateCreate = meta.Faults(validateRules)
	k.Answer = func(ctx context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
		r := obj.(*authorizationv1.SelfSubjectRulesReview)
		r.Status = from.Judge.Rules(ctx, from.User, r.Spec.Namespace)
		return r, nil
	}
	return k
}
