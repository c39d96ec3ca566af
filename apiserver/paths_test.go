package apiserver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// fetch returns status, content type and body of a GET.
func fetch(t *testing.T, config *rest.Config, path string, headers ...string) (int, http.Header, string) {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestPaths(t *testing.T) {
	s := apiservertest.New(t)
	for path, want := range map[string]string{
		"/":                            `"/apis/apps/v1"`,
		"/version":                     `"gitVersion": "v1.37.2+cuppa"`,
		"/livez":                       "ok",
		"/readyz":                      "ok",
		"/healthz":                     "ok",
		"/readyz?verbose":              "[+]etcd ok",
		"/readyz/ping":                 "ok",
		"/readyz?verbose&exclude=etcd": "[+]etcd excluded: ok",
		"/api":                         `"versions":["v1"]`,
		"/apis":                        `"groupVersion":"apps/v1"`,
		"/apis/apps":                   `"kind":"APIGroup"`,
		"/api/v1":                      `"name":"pods/exec"`,
		"/apis/apps/v1":                `"name":"deployments/scale"`,
		"/openapi/v3":                  `"apis/apps/v1"`,
		"/openapi/v3/apis/apps/v1":     `"io.k8s.api.apps.v1.Deployment"`,
		"/openapi/v2":                  `"swagger"`,
		"/metrics":                     `apiserver_storage_objects{resource="namespaces"} 4`,
	} {
		if code, _, body := fetch(t, s.Config, path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, lacks %s: %.300s", path, code, want, body)
		}
	}
	if _, _, body := fetch(t, s.Config, "/metrics"); !strings.Contains(body, `apiserver_request_total{code="200",component="apiserver"`) {
		t.Error("requests are not counted")
	}
	if code, _, _ := fetch(t, s.Config, "/readyz/nothing"); code != http.StatusNotFound {
		t.Errorf("a check that does not exist: %d", code)
	}
	if code, _, _ := fetch(t, s.Anonymous(), "/metrics"); code != http.StatusUnauthorized {
		t.Errorf("figures for anyone: %d", code)
	}
	if code, _, _ := fetch(t, s.Anonymous(), "/readyz"); code != http.StatusOK {
		t.Errorf("health for anyone: %d", code)
	}
}

func TestAggregatedDiscovery(t *testing.T) {
	s := apiservertest.New(t)
	accept := "application/json;g=apidiscoveryv2.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
	code, header, body := fetch(t, s.Config, "/apis", "Accept", accept)
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK {
		t.Fatalf("%d, %v", code, err)
	}
	if list.Kind != "APIGroupDiscoveryList" || !strings.Contains(header.Get("Content-Type"), "as=APIGroupDiscoveryList") {
		t.Errorf("kind %s, content type %s", list.Kind, header.Get("Content-Type"))
	}
	if list.Items[0].Name != "apps" || list.Items[0].Versions[0].Resources[0].Resource != "deployments" {
		t.Errorf("first: %+v", list.Items[0])
	}
	if code, _, _ := fetch(t, s.Config, "/apis", "Accept", accept, "If-None-Match", header.Get("ETag")); code != http.StatusNotModified {
		t.Errorf("the same again: %d, want not modified", code)
	}
	c := client(t, s.Config)
	_, resources, err := c.Discovery().ServerGroupsAndResources()
	if err != nil || len(resources) < 5 {
		t.Errorf("client-go: %v, %d lists", err, len(resources))
	}
}
