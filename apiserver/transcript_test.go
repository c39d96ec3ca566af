package apiserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTranscripts sends the requests in testdata/*.txt and compares the answers. A file is a list of exchanges:
//
//	=== what it shows
//	METHOD path
//	Header: value
//
//	body
//	--- status, and the headers that matter
//	answer
//
// The body "@repeat N" stands for N bytes.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	s := apiservertest.New(t)
	transport, err := rest.TransportFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for i, exchange := range strings.Split(string(data), "=== ")[1:] {
		title, rest, _ := strings.Cut(exchange, "\n")
		request, want, _ := strings.Cut(rest, "--- ")
		got := play(t, &http.Client{Transport: transport}, s.Config.Host, request)
		fmt.Fprintf(&out, "=== %s\n%s--- %s\n", title, request, got)
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" && !testkit.Updating() {
			t.Errorf("%s #%d, %s (-want +got):\n%s", file, i+1, title, diff)
		}
	}
	if testkit.Updating() {
		head, _, _ := strings.Cut(string(data), "=== ")
		if err := os.WriteFile(file, append([]byte(head), out.Bytes()...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func play(t *testing.T, client *http.Client, host, request string) string {
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	body = strings.TrimSuffix(body, "\n")
	var size int
	if _, err := fmt.Sscanf(body, "@repeat %d", &size); err == nil {
		body = strings.Repeat("x", size)
	}
	req, err := http.NewRequest(method, host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d %s\n", resp.StatusCode, resp.Header.Get("Content-Type"))
	for _, warning := range resp.Header.Values("Warning") {
		fmt.Fprintf(&out, "Warning: %s\n", warning)
	}
	return out.String() + settle(answer)
}

// settle replaces what differs from run to run, and lays JSON out for reading.
func settle(answer []byte) string {
	var pretty bytes.Buffer
	text := string(answer)
	if json.Indent(&pretty, answer, "", "  ") == nil {
		text = pretty.String()
	}
	for _, r := range unsteady {
		text = r.match.ReplaceAllString(text, r.with)
	}
	return text
}

var unsteady = []struct {
	match *regexp.Regexp
	with  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`("?resourceVersion"?): "\d+"`), `$1: "N"`},
	{regexp.MustCompile(`(\\+"resourceVersion\\+":\\+")\d+`), `${1}N`}, // an object quoted in a message
	{regexp.MustCompile(`kube-api-access-\w{5}`), "kube-api-access-xxxxx"},
}
