package apiserver

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/apiserver/authn"
)

// TestImpersonations: every part of a wish is asked for on its own, the uid and each extra value too.
func TestImpersonations(t *testing.T) {
	for name, c := range map[string]struct {
		headers http.Header
		who     authn.User
		asked   []string // "group/resource[/subresource] namespace/name"
	}{
		"nothing": {headers: http.Header{"Accept": {"*/*"}}},
		"a user":  {http.Header{"Impersonate-User": {"ann"}}, authn.User{Name: "ann"}, []string{"/users /ann"}},
		"an account": {
			http.Header{"Impersonate-User": {"system:serviceaccount:ns:sa"}},
			authn.User{Name: "system:serviceaccount:ns:sa"}, []string{"/serviceaccounts ns/sa"},
		},
		"everything": {
			http.Header{
				"Impersonate-User": {"ann"}, "Impersonate-Uid": {"7"}, "Impersonate-Group": {"dev", "ops"},
				"Impersonate-Extra-Scopes": {"view", "edit"}, "Impersonate-Extra-Acme.com%2fproject": {"x"},
			},
			authn.User{Name: "ann", UID: "7", Groups: []string{"dev", "ops"}, Extra: map[string][]string{"scopes": {"view", "edit"}, "acme.com/project": {"x"}}},
			[]string{
				"/users /ann", "/groups /dev", "/groups /ops", "authentication.k8s.io/uids /7",
				"authentication.k8s.io/userextras/acme.com/project /x",
				"authentication.k8s.io/userextras/scopes /view", "authentication.k8s.io/userextras/scopes /edit",
			},
		},
		"no user": {http.Header{"Impersonate-Extra-Scopes": {"view"}}, authn.User{Extra: map[string][]string{"scopes": {"view"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			who, asked := wishes(c.headers)
			if diff := cmp.Diff(c.who, who); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want := name != "nothing"; asked != want {
				t.Errorf("asked: %v, want %v", asked, want)
			}
			if who.Name == "" {
				return
			}
			var questions []string
			for _, q := range impersonations(authn.User{Name: "caller"}, who) {
				if q.Verb != "impersonate" || q.User.Name != "caller" {
					t.Errorf("question %+v", q)
				}
				what := strings.TrimSuffix(q.Group+"/"+q.Resource+"/"+q.Subresource, "/")
				questions = append(questions, what+" "+q.Namespace+"/"+q.Name)
			}
			if diff := cmp.Diff(c.asked, questions); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}
