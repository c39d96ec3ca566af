package authentication

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// selfSubjectReviews is the row of SelfSubjectReview (KEP-3325): whom the server takes the caller for.
func selfSubjectReviews() *registry.Kind {
	return &registry.Kind{
		GVK:      authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"),
		Resource: "selfsubjectreviews",
		Singular: "selfsubjectreview",
		Verbs:    []string{"create"},
		Storage:  registry.Virtual,
		New:      func() registry.Object { return &authenticationv1.SelfSubjectReview{} },
		Answer: func(_ context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
			obj.(*authenticationv1.SelfSubjectReview).Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: from.User}
			return obj, nil
		},
	}
}

// tokenReviews is the row of TokenReview: whose a bearer token is.
func tokenReviews() *registry.Kind {
	return &registry.Kind{
		GVK:      authenticationv1.SchemeGroupVersion.WithKind("TokenReview"),
		Resource: "tokenreviews",
		Singular: "tokenreview",
		Verbs:    []string{"create"},
		Storage:  registry.Virtual,
		New:      func() registry.Object { return &authenticationv1.TokenReview{} },
		Answer: func(ctx context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
			review := obj.(*authenticationv1.TokenReview)
			if review.Spec.Token == "" {
				return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
			}
			review.Status = from.Judge.Token(ctx, review.Spec)
			return review, nil
		},
	}
}
