package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// DefaultIssuer names this cluster as the maker of its service account tokens, and is also their default audience.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// Ref names one object at one point of its life.
type Ref struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// Claims is what a service account token says.
type Claims struct {
	Audience  []string   `json:"aud"`
	Expires   int64      `json:"exp"`
	IssuedAt  int64      `json:"iat"`
	Issuer    string     `json:"iss"`
	ID        string     `json:"jti"`
	Private   Kubernetes `json:"kubernetes.io"`
	NotBefore int64      `json:"nbf"`
	Subject   string     `json:"sub"`
}

// Kubernetes is the private part of the claims: whom the token stands for and what it is bound to.
type Kubernetes struct {
	Namespace string `json:"namespace"`
	Node      *Ref   `json:"node,omitempty"`
	Pod       *Ref   `json:"pod,omitempty"`
	Secret    *Ref   `json:"secret,omitempty"`
	Account   Ref    `json:"serviceaccount"`
}

// Accounts issues and verifies service account tokens.
type Accounts struct {
	// Key signs; it is an ECDSA key on P-256.
	Key *ecdsa.PrivateKey
	// Issuer is DefaultIssuer if empty.
	Issuer string
	// Exists says whether the object of the resource ("serviceaccounts", "pods", "secrets", "nodes") still is what the token was made for. An empty uid
	// asks for the name alone.
	Exists func(ctx context.Context, resource, namespace, name, uid string) bool
	Now    func() time.Time
}

func (a *Accounts) issuer() string {
	if a.Issuer == "" {
		return DefaultIssuer
	}
	return a.Issuer
}

// Issue signs a token for the account, valid for the given time. No audiences: the API server itself.
func (a *Accounts) Issue(private Kubernetes, audiences []string, lifetime time.Duration) (token string, expires time.Time, err error) {
	now := a.Now()
	if len(audiences) == 0 {
		audiences = []string{a.issuer()}
	}
	expires = now.Add(lifetime)
	claims := Claims{
		Audience: audiences, Expires: expires.Unix(), IssuedAt: now.Unix(), NotBefore: now.Unix(),
		Issuer: a.issuer(), ID: string(uuid.NewUUID()), Private: private,
		Subject: AccountName(private.Namespace, private.Account.Name),
	}
	token, err = sign(a.Key, claims)
	return token, expires, err
}

// AccountName is the user name of a service account.
func AccountName(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// Verify returns whom a token for the API server stands for. Every fault is Denied.
func (a *Accounts) Verify(ctx context.Context, token string) (User, error) {
	user, _, err := a.VerifyFor(ctx, token, []string{a.issuer()})
	return user, err
}

// VerifyFor returns whom a token stands for, and which of the audiences it is for: one at least. Every fault is Denied.
func (a *Accounts) VerifyFor(ctx context.Context, token string, audiences []string) (User, []string, error) {
	claims, err := parse(&a.Key.PublicKey, token)
	if err != nil {
		return User{}, nil, err
	}
	common := slices.DeleteFunc(slices.Clone(audiences), func(one string) bool { return !slices.Contains(claims.Audience, one) })
	if err := a.valid(ctx, claims, common); err != nil {
		return User{}, nil, err
	}
	return accountUser(claims), common, nil
}

// valid says what is wrong with the claims of a token whose signature is right.
func (a *Accounts) valid(ctx context.Context, claims Claims, audiences []string) error {
	now := a.Now().Unix()
	switch {
	case claims.Issuer != a.issuer() || len(audiences) == 0:
		return errkind.New(errkind.Denied, "token is for another audience")
	case now >= claims.Expires:
		return errkind.New(errkind.Denied, "token has expired")
	case now < claims.NotBefore-60:
		return errkind.New(errkind.Denied, "token is not valid yet")
	}
	p := claims.Private
	if !a.Exists(ctx, "serviceaccounts", p.Namespace, p.Account.Name, p.Account.UID) {
		return errkind.New(errkind.Denied, "service account of the token is gone")
	}
	if p.Pod != nil && !a.Exists(ctx, "pods", p.Namespace, p.Pod.Name, p.Pod.UID) {
		return errkind.New(errkind.Denied, "pod of the token is gone")
	}
	if p.Secret != nil && !a.Exists(ctx, "secrets", p.Namespace, p.Secret.Name, p.Secret.UID) {
		return errkind.New(errkind.Denied, "secret of the token is gone")
	}
	if p.Pod == nil && p.Node != nil && !a.Exists(ctx, "nodes", "", p.Node.Name, p.Node.UID) {
		return errkind.New(errkind.Denied, "node of the token is gone")
	}
	return nil
}

func accountUser(claims Claims) User {
	p := claims.Private
	user := User{
		Name:   claims.Subject,
		UID:    p.Account.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + p.Namespace},
		Extra:  map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + claims.ID}},
	}
	if p.Pod != nil {
		user.Extra["authentication.kubernetes.io/pod-name"] = []string{p.Pod.Name}
		user.Extra["authentication.kubernetes.io/pod-uid"] = []string{p.Pod.UID}
	}
	if p.Node != nil {
		user.Extra["authentication.kubernetes.io/node-name"] = []string{p.Node.Name}
		if p.Node.UID != "" {
			user.Extra["authentication.kubernetes.io/node-uid"] = []string{p.Node.UID}
		}
	}
	return user
}

// header is the only JOSE header we make and take, so a token cannot choose its own algorithm.
const header = `{"alg":"ES256","typ":"JWT"}`

// halfSize is the width of each of the two numbers of a P-256 signature.
const halfSize = 32

func sign(key *ecdsa.PrivateKey, claims Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := b64(header) + "." + b64(string(payload))
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", errkind.New(errkind.Internal, "sign token: %w", err)
	}
	signature := make([]byte, 2*halfSize)
	r.FillBytes(signature[:halfSize])
	s.FillBytes(signature[halfSize:])
	return text + "." + b64(string(signature)), nil
}

func parse(key *ecdsa.PublicKey, token string) (Claims, error) {
	text, signature64, ok := cutLast(token)
	head, payload64, ok2 := strings.Cut(text, ".")
	signature, err := base64.RawURLEncoding.DecodeString(signature64)
	if !ok || !ok2 || err != nil || head != b64(header) || len(signature) != 2*halfSize {
		return Claims{}, errkind.New(errkind.Denied, "not a service account token of this cluster")
	}
	digest := sha256.Sum256([]byte(text))
	r := new(big.Int).SetBytes(signature[:halfSize])
	s := new(big.Int).SetBytes(signature[halfSize:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return Claims{}, errkind.New(errkind.Denied, "token has a wrong signature")
	}
	payload, err := base64.RawURLEncoding.DecodeString(payload64)
	if err != nil {
		return Claims{}, errkind.New(errkind.Denied, "token is malformed")
	}
	var claims Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Claims{}, errkind.New(errkind.Denied, "token is malformed")
	}
	return claims, nil
}

func cutLast(token string) (before, after string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
