// Package authn finds out who sent a request: a client certificate, a static bearer token, or a service account's token.
//
// It says who, never what they may do (authz). Certificates are checked by the TLS handshake; what is read here is only
// what the verified certificate names. Start with Authenticator.
package authn

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// User is an identity.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// In is true if the user belongs to the group.
func (u User) In(group string) bool { return slices.Contains(u.Groups, group) }

// nodePrefix begins the name of every node's identity.
const nodePrefix = "system:node:"

// NodeName is the name of a node's identity.
func NodeName(node string) string { return nodePrefix + node }

// Node is the node whose identity this is, if it is any's: by its name and its group. The node is "" if the name names none.
func (u User) Node() (node string, ok bool) {
	if !u.In(api.GroupNodes) {
		return "", false
	}
	node, _ = strings.CutPrefix(u.Name, nodePrefix)
	if node == u.Name {
		node = ""
	}
	return node, true
}

// The groups that everyone is put in.
const (
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
)

// Anonymous is who sends a request without credentials.
var anonymous = User{Name: "system:anonymous", Groups: []string{GroupUnauthenticated}}

// Token is a static bearer token. Only its hash is kept.
type Token struct {
	Hash [sha256.Size]byte
	User User
}

// HashToken is the hash under which a token is kept.
func HashToken(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// Config says which credentials are taken. The zero value takes client certificates only.
type Config struct {
	Tokens []Token
	// Accounts verifies service account tokens; nil: there are none.
	Accounts *Accounts
}

// Authenticator reads credentials.
type Authenticator struct {
	tokens   map[[sha256.Size]byte]User
	accounts *Accounts
}

// New returns an authenticator.
func New(config Config) *Authenticator {
	a := &Authenticator{tokens: map[[sha256.Size]byte]User{}, accounts: config.Accounts}
	for _, token := range config.Tokens {
		a.tokens[token.Hash] = token.User
	}
	return a
}

// Identify returns who sent the request. A request without credentials is anonymous; one with credentials that are not
// accepted is an error (Denied), because falling back to anonymous would hide an expired token.
func (a *Authenticator) Identify(ctx context.Context, req *http.Request) (User, error) {
	if req.TLS != nil && len(req.TLS.VerifiedChains) > 0 {
		leaf := req.TLS.VerifiedChains[0][0]
		return authenticated(User{Name: leaf.Subject.CommonName, Groups: leaf.Subject.Organization}), nil
	}
	secret, ok := bearer(req)
	if !ok {
		return anonymous, nil
	}
	user, _, err := a.Token(ctx, secret, nil)
	return user, err
}

// Token returns whose a bearer token is, and which of the audiences it is for; none are the API server's own. A token that is not accepted is
// an error (Denied).
func (a *Authenticator) Token(ctx context.Context, secret string, audiences []string) (User, []string, error) {
	own := DefaultIssuer
	if a.accounts != nil {
		own = a.accounts.issuer()
	}
	if len(audiences) == 0 {
		audiences = []string{own}
	}
	if user, ok := a.tokens[HashToken(secret)]; ok && slices.Contains(audiences, own) {
		return authenticated(user), []string{own}, nil
	}
	if a.accounts == nil {
		return User{}, nil, errkind.New(errkind.Denied, "unknown bearer token")
	}
	user, common, err := a.accounts.VerifyFor(ctx, secret, audiences)
	if err != nil {
		return User{}, nil, err
	}
	return authenticated(user), common, nil
}

func bearer(req *http.Request) (string, bool) {
	header := req.Header.Get("Authorization")
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	secret = strings.TrimSpace(secret)
	return secret, secret != ""
}

func authenticated(user User) User {
	if !user.In(GroupAuthenticated) {
		user.Groups = append(slices.Clone(user.Groups), GroupAuthenticated)
	}
	return user
}
