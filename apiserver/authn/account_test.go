package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func testAccounts(t testing.TB) *Accounts {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Accounts{Key: key, Now: time.Now, Exists: func(context.Context, string, string, string, string) bool { return true }}
}

func TestTokens(t *testing.T) {
	private := Kubernetes{Namespace: "ns", Account: Ref{Name: "sa", UID: "1"}, Pod: &Ref{Name: "p", UID: "2"}}
	for name, c := range map[string]struct {
		change    func(a *Accounts, token string) string // after the token was issued
		audiences []string
		want      string // of the error; empty: accepted
	}{
		"good":             {change: func(_ *Accounts, token string) string { return token }},
		"another audience": {change: func(_ *Accounts, token string) string { return token }, audiences: []string{"vault"}, want: "another audience"},
		"expired": {change: func(a *Accounts, token string) string {
			a.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
			return token
		}, want: "expired"},
		"not yet": {change: func(a *Accounts, token string) string {
			a.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
			return token
		}, want: "not valid yet"},
		"account gone": {change: func(a *Accounts, token string) string {
			a.Exists = func(_ context.Context, resource, _, _, _ string) bool { return resource != "serviceaccounts" }
			return token
		}, want: "account of the token is gone"},
		"pod replaced": {change: func(a *Accounts, token string) string {
			a.Exists = func(_ context.Context, resource, _, _, uid string) bool { return resource != "pods" || uid == "3" }
			return token
		}, want: "pod of the token is gone"},
		"another key": {change: func(a *Accounts, token string) string {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			a.Key = key
			return token
		}, want: "wrong signature"},
		"changed claims": {change: func(_ *Accounts, token string) string {
			parts := strings.Split(token, ".")
			return parts[0] + "." + b64(`{"sub":"system:serviceaccount:kube-system:admin"}`) + "." + parts[2]
		}, want: "wrong signature"},
		"no algorithm": {change: func(_ *Accounts, token string) string {
			parts := strings.Split(token, ".")
			return b64(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + "."
		}, want: "not a service account token"},
		"nonsense": {change: func(*Accounts, string) string { return "a.b" }, want: "not a service account token"},
	} {
		t.Run(name, func(t *testing.T) {
			a := testAccounts(t)
			token, _, err := a.Issue(private, c.audiences, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			user, err := a.Verify(context.Background(), c.change(a, token))
			if c.want == "" {
				if err != nil || user.Name != "system:serviceaccount:ns:sa" || !user.In("system:serviceaccounts:ns") {
					t.Errorf("%v, %+v", err, user)
				}
				return
			}
			if !errors.Is(err, errkind.Denied) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	a := testAccounts(f)
	token, _, err := a.Issue(Kubernetes{Namespace: "ns", Account: Ref{Name: "sa"}}, nil, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token + "x")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		// Signatures have spellings: padding bits of base64 that do not count. Nothing but the signed text itself may pass.
		if _, err := a.Verify(context.Background(), text); err == nil && !strings.HasPrefix(text, token[:strings.LastIndexByte(token, '.')]) {
			t.Errorf("accepted %q", text)
		}
	})
}
