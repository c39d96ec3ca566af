package cli

import (
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func writeConfig(t *testing.T, path, server, ca, token string) {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: []byte(ca)}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
}

// TestWhoComposeIs holds that the verbs of Compose go under Compose's own name to the cluster of this machine, and to no other one.
func TestWhoComposeIs(t *testing.T) {
	const here, ca = "https://127.0.0.1:6443", "authority"
	for name, c := range map[string]struct {
		server, ca string // of Compose's own kubeconfig; "": there is none
		elsewhere  bool   // KUBECONFIG names another file
		want       string
	}{
		"this machine's":            {server: here, ca: ca, want: "compose"},
		"an older server's":         {server: here, ca: "another", want: "admin"},
		"at another port":           {server: "https://127.0.0.1:7443", ca: ca, want: "admin"},
		"none":                      {want: "admin"},
		"somebody's own kubeconfig": {server: here, ca: ca, elsewhere: true, want: "somebody"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &program{dirs: Dirs{Data: t.TempDir(), Run: t.TempDir()}, env: map[string]string{}}
			writeConfig(t, m.dirs.Kubeconfig(), here, ca, "admin")
			if c.server != "" {
				writeConfig(t, m.dirs.ComposeKubeconfig(), c.server, c.ca, "compose")
			}
			m.env["KUBECONFIG"] = m.dirs.Kubeconfig() // the same file, named
			if c.elsewhere {
				m.env["KUBECONFIG"] = filepath.Join(t.TempDir(), "config")
				writeConfig(t, m.env["KUBECONFIG"], here, ca, "somebody")
			}
			config, err := m.restConfig()
			if err != nil {
				t.Fatal(err)
			}
			if config.BearerToken != c.want {
				t.Errorf("goes as %s, want %s", config.BearerToken, c.want)
			}
		})
	}
}
