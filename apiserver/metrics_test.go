package apiserver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// series lists what requests are counted as, without the counts. Its own request is counted, too, a moment after it is answered.
func series(t *testing.T, s *apiservertest.Server) []string {
	t.Helper()
	for {
		_, _, body := fetch(t, s.Config, "/metrics")
		var all []string
		for line := range strings.Lines(body) {
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "apiserver_request_total") {
				all = append(all, name)
			}
		}
		if strings.Contains(body, `subresource="/metrics"`) {
			return all
		}
	}
}

// TestFiguresAreBounded sends paths and methods that nobody serves: the figures must not keep a row for each.
func TestFiguresAreBounded(t *testing.T) {
	s := apiservertest.New(t)
	transport, err := rest.TransportFor(s.Anonymous())
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.Config.Host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	round := func(i int) {
		for _, request := range []struct{ method, path string }{
			{"GET", "/x%d"},
			{"GET", "/x%d/y"},
			{"METHOD%d", "/version"},
			{"METHOD%d", "/api/v1/pods"},
			{"METHOD%d", "/api/v1/namespaces/default/pods/a/log"},
			{"GET", "/api/x%d"},
			{"GET", "/api/v1/x%d"},
			{"GET", "/api/v9%d/pods"},
			{"GET", "/apis/x%d/v1/pods"},
			{"GET", "/api/v1/namespaces/x%d/pods"},
			{"GET", "/api/v1/namespaces/default/pods/a/x%d"},
			{"DELETE", "/api/v1/namespaces/x%d/pods/x"},
		} {
			number := func(text string) string { return strings.ReplaceAll(text, "%d", fmt.Sprint(i)) }
			send(number(request.method), number(request.path))
		}
	}
	round(0)
	before := series(t, s)
	for i := range 20 {
		round(i + 1)
	}
	if diff := cmp.Diff(before, series(t, s)); diff != "" {
		t.Errorf("20 rounds of invented paths and methods made new rows of figures (-before +after):\n%s", diff)
	}
}
