package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// TestWhoAmI: whoever is known may ask for whom the server takes them, and what they may do.
func TestWhoAmI(t *testing.T) {
	s := apiservertest.New(t)
	jane := client(t, s.Client(t, "jane", "team"))
	me, err := jane.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if u := me.Status.UserInfo; u.Username != "jane" || !slices.Equal(u.Groups, []string{"team", "system:authenticated"}) {
		t.Errorf("taken for %+v", u)
	}
	mayI := func(a *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
		t.Helper()
		review, err := jane.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: a, NonResourceAttributes: path}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return review.Status
	}
	if got := mayI(&authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: "default"}, nil); got.Allowed || got.Denied {
		t.Errorf("list pods: %+v", got)
	}
	if got := mayI(&authorizationv1.ResourceAttributes{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, nil); !got.Allowed {
		t.Errorf("ask: %+v", got)
	}
	if got := mayI(nil, &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/version"}); !got.Allowed {
		t.Errorf("get /version: %+v", got)
	}
	rules, err := jane.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || !rules.Status.Incomplete || !strings.Contains(rules.Status.EvaluationError, "kubectl auth can-i") {
		t.Errorf("rules: %+v, %v", rules, err)
	}
	_, err = client(t, s.Anonymous()).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Errorf("nobody asks who they are: %v", err)
	}
}

// TestWhatOthersMay: to ask about others has to be allowed, and answers as if they had asked.
func TestWhatOthersMay(t *testing.T) {
	s := apiservertest.New(t)
	question := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:kube-scheduler",
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "binding", Namespace: "default"}}}
	if _, err := client(t, s.Client(t, "jane")).AuthorizationV1().SubjectAccessReviews().Create(ctx, question, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("jane asks about the scheduler: %v", err)
	}
	admin := client(t, s.Config)
	answer, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, question, metav1.CreateOptions{})
	if err != nil || !answer.Status.Allowed {
		t.Errorf("may the scheduler bind: %+v, %v", answer, err)
	}
	question.Spec.User = "jane"
	if answer, err = admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, question, metav1.CreateOptions{}); err != nil || answer.Status.Allowed {
		t.Errorf("may jane bind: %+v, %v", answer, err)
	}
	local, err := admin.AuthorizationV1().LocalSubjectAccessReviews("default").Create(ctx, &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: question.Spec}, metav1.CreateOptions{})
	if err != nil || local.Status.Allowed || local.Namespace != "default" {
		t.Errorf("within a namespace: %+v, %v", local, err)
	}
}

// TestTokenReview: a service account's token is told from nonsense, and is good for its own audiences alone.
func TestTokenReview(t *testing.T) {
	s := apiservertest.New(t)
	admin := client(t, s.Config)
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := func(audiences ...string) string {
		t.Helper()
		answer, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot",
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status.Token
	}
	for name, c := range map[string]struct {
		token     string
		audiences []string
		want      []string // audiences; nil: refused
	}{
		"for the server":           {token(), nil, []string{"https://kubernetes.default.svc.cluster.local"}},
		"for a vault":              {token("vault", "other"), []string{"vault", "third"}, []string{"vault"}},
		"for a vault, asked plain": {token("vault"), nil, nil},
		"nonsense":                 {"x.y.z", nil, nil},
	} {
		review, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: c.token, Audiences: c.audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := review.Status
		switch {
		case c.want == nil && (got.Authenticated || got.Error == "" || got.User.Username != ""):
			t.Errorf("%s: %+v, want a refusal", name, got)
		case c.want != nil && (!got.Authenticated || got.User.Username != "system:serviceaccount:default:robot" || !slices.Equal(got.Audiences, c.want)):
			t.Errorf("%s: %+v, want audiences %v", name, got, c.want)
		}
	}
	if _, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{}, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("no token: %v", err)
	}
}

// TestTokenOfABoundPod: a pod's token says where the pod runs.
func TestTokenOfABoundPod(t *testing.T) {
	s := withNode(t)
	admin := client(t, s.Config)
	bound, err := admin.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node, err := admin.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "a"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: made.Status.Token}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"pod-name": "a", "pod-uid": string(bound.UID), "node-name": "n", "node-uid": string(node.UID)} {
		if got := review.Status.User.Extra["authentication.kubernetes.io/"+key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %s", key, got, want)
		}
	}
}

// TestTokensAreVerifiedElsewhere: whoever is shown a token finds the key that signs it as OpenID Connect says, and verifies it by that alone.
func TestTokensAreVerifiedElsewhere(t *testing.T) {
	s := apiservertest.New(t)
	robot := s.Client(t, "system:serviceaccount:default:robot", "system:serviceaccounts")
	raw := func(path string) map[string]any {
		t.Helper()
		content, err := client(t, robot).RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(content, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	document := raw("/.well-known/openid-configuration")
	const issuer = "https://kubernetes.default.svc.cluster.local"
	if document["issuer"] != issuer || document["jwks_uri"] != issuer+"/openid/v1/jwks" {
		t.Errorf("got %v", document)
	}
	key := raw("/openid/v1/jwks")["keys"].([]any)[0].(map[string]any)
	number := func(field string) *big.Int {
		content, err := base64.RawURLEncoding.DecodeString(key[field].(string))
		if err != nil || len(content) != 32 {
			t.Fatalf("%s is %q", field, key[field])
		}
		return new(big.Int).SetBytes(content)
	}
	public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: number("x"), Y: number("y")}
	admin := client(t, s.Config)
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	end := strings.LastIndexByte(answer.Status.Token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(answer.Status.Token[end+1:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("signature of %d bytes, %v", len(signature), err)
	}
	digest := sha256.Sum256([]byte(answer.Status.Token[:end]))
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the key that is told does not verify a token")
	}
	if _, err := client(t, s.Client(t, "jane")).RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(ctx); !apierrors.IsForbidden(err) {
		t.Errorf("jane reads the keys: %v", err)
	}
}
