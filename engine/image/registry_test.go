package image

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/cuppa-project/cuppa/engine/image/registrytest"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// noLogins is for tests that must not see the logins of whoever runs them.
func noLogins(string) (Auth, error) { return Auth{}, nil }

func TestPushAndPull(t *testing.T) {
	r := registrytest.Start(t, registrytest.Config{})
	s, c := openStore(t, t.TempDir(), "", Options{Credentials: noLogins})
	name := r.Host + "/shop/app:1"
	load(t, s, dockerArchive(t, "/a", []string{name}, tarOf(t, file{"a", strings.Repeat("a", 300<<10)}), tarOf(t, file{"b", "b"})))
	before, err := s.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	note := func(p Progress) { said = append(said, p.Status) }
	pushed, err := s.Push(t.Context(), name, PullOptions{Progress: note})
	if err != nil {
		t.Fatal(err)
	}
	if pushed.Digest != before.Manifest.String() || pushed.Tag != "1" {
		t.Errorf("pushed %+v, want digest %s", pushed, before.Manifest)
	}
	requireSaid(t, said, "The push refers to repository ["+r.Host+"/shop/app]", "Pushing", "Pushed", "1: digest: "+pushed.Digest)
	said = nil
	if _, err := s.Push(t.Context(), name, PullOptions{Progress: note}); err != nil {
		t.Fatal(err)
	}
	requireSaid(t, said, "Layer already exists")
	if _, err := s.Remove(t.Context(), before.ID.String(), false); err != nil {
		t.Fatal(err)
	}
	requireEmpty(t, s, c)

	said = nil
	img, err := s.Pull(t.Context(), name, PullOptions{Progress: note})
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != before.ID {
		t.Errorf("pulled %s, pushed %s", img.ID, before.ID)
	}
	if diff := cmp.Diff([]string{r.Host + "/shop/app@" + pushed.Digest}, img.Digests); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	requireSaid(t, said, "Pulling from shop/app", "Pulling fs layer", "Downloading", "Download complete", "Extracting", "Pull complete",
		"Digest: "+pushed.Digest, "Status: Downloaded newer image for "+name)
	if _, err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.PrepareRoot(t.Context(), "c", name)
	if err != nil {
		t.Fatal(err)
	}
	if got := readRoot(t, mounts, "b"); got != "b" {
		t.Errorf("the pulled image holds %q", got)
	}
	if err := s.RemoveRoot(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	said = nil
	if _, err := s.Pull(t.Context(), name, PullOptions{Progress: note}); err != nil {
		t.Fatal(err)
	}
	requireSaid(t, said, "Status: Image is up to date for "+name)
	if _, err := s.Remove(t.Context(), name, false); err != nil { // the digest goes with the last tag
		t.Fatal(err)
	}
	requireEmpty(t, s, c)
	if _, err := s.Pull(t.Context(), r.Host+"/shop/app@"+pushed.Digest, PullOptions{}); err != nil {
		t.Errorf("pull by digest: %v", err)
	}
	if err := s.Save(t.Context(), io.Discard, before.ID.String()); err != nil {
		t.Errorf("a pulled image cannot be saved: %v", err)
	}
}

func requireSaid(t *testing.T, said []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, w) }) {
			t.Errorf("progress never said %q, but %q", w, slices.Compact(said))
		}
	}
}

func TestPullErrors(t *testing.T) {
	r := registrytest.Start(t, registrytest.Config{})
	s, c := openStore(t, t.TempDir(), "", Options{Credentials: noLogins})
	name := r.Host + "/app:1"
	load(t, s, dockerArchive(t, "/a", []string{name}, tarOf(t, file{"a", strings.Repeat("a", 500<<10)})))
	if _, err := s.Push(t.Context(), name, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), name, true); err != nil {
		t.Fatal(err)
	}
	requireEmpty(t, s, c)
	for _, tc := range []struct {
		ref  string
		kind error
		want string
	}{
		{r.Host + "/app:2", errkind.NotFound, "manifest for " + r.Host + "/app:2 not found: manifest unknown: manifest unknown"},
		{r.Host + "/nosuch", errkind.NotFound, r.Host + "/nosuch"},
		{"127.0.0.1:1/app", errkind.Unavailable, "connection refused"},
		{"UPPER", errkind.Invalid, "must be lowercase"},
	} {
		if _, err := s.Pull(t.Context(), tc.ref, PullOptions{}); !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("pull %s: %v, want %v with %q", tc.ref, err, tc.kind, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Pull(ctx, name, PullOptions{Progress: func(p Progress) {
		if p.Status == "Downloading" {
			cancel()
		}
	}})
	if err == nil {
		t.Error("a cancelled pull succeeded")
	}
	requireEmpty(t, s, c)
	// A layer that is not what its digest says must never become an image.
	err = filepath.WalkDir(filepath.Join(r.Dir, "store"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "data" {
			if data, _ := os.ReadFile(path); len(data) > 400<<10 {
				data[len(data)/2] ^= 1
				return os.WriteFile(path, data, 0o600)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), name, PullOptions{}); err == nil {
		t.Error("a damaged layer was taken")
	}
	requireEmpty(t, s, c)
}

func TestPasswordAndTLS(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := registrytest.Start(t, registrytest.Config{TLS: true, Auth: "auth:\n  htpasswd:\n    realm: test\n    path: " + filepath.Join(dir, "htpasswd") + "\n"})
	trusting, _ := openStore(t, t.TempDir(), "", Options{Credentials: noLogins, CertsDirs: []string{certsDir(t, r.Host, r.CA)}})
	name := r.Host + "/app:1"
	ann := Auth{Username: "ann", Password: "secret"}
	load(t, trusting, dockerArchive(t, "/a", []string{name}, tarOf(t, file{"a", "a"})))
	if _, err := trusting.Push(t.Context(), name, PullOptions{}); !errors.Is(err, errkind.Denied) {
		t.Errorf("push without login: %v, want Denied", err)
	}
	if _, err := trusting.Push(t.Context(), name, PullOptions{Auth: ann}); err != nil {
		t.Fatal(err)
	}
	denied := "pull access denied for " + r.Host + "/app, repository does not exist or may require 'docker login'"
	for what, auth := range map[string]Auth{"no login": {}, "wrong password": {Username: "ann", Password: "wrong"}} {
		if _, err := trusting.Pull(t.Context(), name, PullOptions{Auth: auth}); !errors.Is(err, errkind.Denied) || !strings.Contains(err.Error(), denied) {
			t.Errorf("pull with %s: %v, want Denied with %q", what, err, denied)
		}
	}
	packed := Auth{Auth: base64.StdEncoding.EncodeToString([]byte("ann:secret"))}
	if _, err := trusting.Pull(t.Context(), name, PullOptions{Auth: packed}); err != nil {
		t.Errorf("pull with login: %v", err)
	}
	if err := trusting.Login(t.Context(), Auth{Username: "ann", Password: "secret", ServerAddress: r.Host}); err != nil {
		t.Errorf("login: %v", err)
	}
	if err := trusting.Login(t.Context(), Auth{Username: "ann", Password: "wrong", ServerAddress: r.Host}); !errors.Is(err, errkind.Denied) {
		t.Errorf("login with a wrong password: %v, want Denied", err)
	}

	t.Run("docker's configuration file", func(t *testing.T) {
		config := t.TempDir()
		t.Setenv("DOCKER_CONFIG", config)
		text := fmt.Sprintf(`{"auths":{"https://%s/v1/":{"auth":%q}}}`, r.Host, packed.Auth)
		if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := openStore(t, t.TempDir(), "", Options{CertsDirs: []string{}}) // on the loopback any certificate will do
		if _, err := s.Pull(t.Context(), name, PullOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong authority", func(t *testing.T) {
		cert, _ := registrytest.SelfSigned(t, t.TempDir())
		other, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := openStore(t, t.TempDir(), "", Options{Credentials: noLogins, CertsDirs: []string{certsDir(t, r.Host, other)}})
		_, err = s.Pull(t.Context(), name, PullOptions{Auth: ann})
		if !errors.Is(err, errkind.Unavailable) || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
			t.Errorf("got %v, want Unavailable for an unknown authority", err)
		}
	})
}

// certsDir files an authority as docker does.
func certsDir(t *testing.T, host string, ca []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, host), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, host, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTokens uses a registry that sends its clients to a token server.
func TestTokens(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var scopes []string
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if req.ParseForm() == nil && req.PostForm.Get("username") != "" {
			user, password = req.PostForm.Get("username"), req.PostForm.Get("password")
		}
		if user != "ann" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		scopes = append(scopes, req.Form["scope"]...)
		token := signToken(t, key, der, req.Form["scope"])
		json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
	}))
	defer issuer.Close()
	r := registrytest.Start(t, registrytest.Config{Auth: fmt.Sprintf("auth:\n  token:\n    realm: %s/token\n    service: test\n    issuer: issuer\n    rootcertbundle: %s\n", issuer.URL, bundle)})
	s, _ := openStore(t, t.TempDir(), "", Options{Credentials: noLogins})
	name := r.Host + "/shop/app:1"
	load(t, s, dockerArchive(t, "/a", []string{name}, tarOf(t, file{"a", "a"})))
	ann := Auth{Username: "ann", Password: "secret"}
	if _, err := s.Push(t.Context(), name, PullOptions{Auth: ann}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), name, PullOptions{Auth: ann}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), name, PullOptions{}); !errors.Is(err, errkind.Denied) {
		t.Errorf("pull without login: %v, want Denied", err)
	}
	ready := Auth{RegistryToken: signToken(t, key, der, []string{"repository:shop/app:pull"})}
	if _, err := s.Pull(t.Context(), name, PullOptions{Auth: ready}); err != nil {
		t.Errorf("pull with a ready token: %v", err)
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return strings.HasPrefix(s, "repository:shop/app:pull") }) {
		t.Errorf("scopes asked for: %q", scopes)
	}
}

// signToken makes the JSON web token a registry of version 2 takes.
func signToken(t *testing.T, key *rsa.PrivateKey, cert []byte, scopes []string) string {
	t.Helper()
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var grants []access
	for _, scope := range scopes {
		for one := range strings.FieldsSeq(scope) {
			if parts := strings.Split(one, ":"); len(parts) == 3 {
				grants = append(grants, access{parts[0], parts[1], strings.Split(parts[2], ",")})
			}
		}
	}
	now := time.Now()
	enc := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := enc(map[string]any{"typ": "JWT", "alg": "RS256", "x5c": []string{base64.StdEncoding.EncodeToString(cert)}}) + "." +
		enc(map[string]any{"iss": "issuer", "aud": "test", "sub": "ann", "exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "jti": "1", "access": grants})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestDockerConfig(t *testing.T) {
	var config dockerConfig
	if err := json.Unmarshal([]byte(`{"auths":{
		"https://index.docker.io/v1/":{"auth":"aHViOnB3"}, "quay.io":{"username":"q","password":"p"}, "https://example.org:5000/v2/":{"identitytoken":"tok"}, "broken":{"auth":"!"}}}`), &config); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]Auth{
		"docker.io": {Username: "hub", Password: "pw"}, "registry-1.docker.io": {Username: "hub", Password: "pw"}, "quay.io": {Username: "q", Password: "p"},
		"example.org:5000": {IdentityToken: "tok"}, "example.org": {},
	} {
		got, err := config.find(host)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
	if _, err := config.find("broken"); err == nil {
		t.Error("a broken login was taken")
	}
	dir := t.TempDir()
	helper := "#!/bin/sh\nread s; echo '{\"Username\":\"h\",\"Secret\":\"'$s'\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	got, err := dockerConfig{CredHelpers: map[string]string{"ecr.example.org": "test"}}.find("ecr.example.org")
	if diff := cmp.Diff(Auth{Username: "h", Password: "ecr.example.org"}, got); err != nil || diff != "" {
		t.Errorf("credential helper: %v\n%s", err, diff)
	}
}

// TestPullsOfOneImage pulls one image many times at once, as the pods of one Deployment do.
func TestPullsOfOneImage(t *testing.T) {
	r := registrytest.Start(t, registrytest.Config{})
	s, c := openStore(t, t.TempDir(), "", Options{Credentials: noLogins})
	names := []string{r.Host + "/app:1", r.Host + "/other:1"}
	load(t, s, dockerArchive(t, "/a", names, tarOf(t, file{"a", strings.Repeat("a", 3<<20)}), tarOf(t, file{"b", "b"})))
	for _, name := range names {
		if _, err := s.Push(t.Context(), name, PullOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Remove(t.Context(), names[0], true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), names[1], true); err != nil {
		t.Fatal(err)
	}
	requireEmpty(t, s, c)
	errs := make(chan error)
	for i := range 10 {
		go func() {
			_, err := s.Pull(t.Context(), names[i%2], PullOptions{})
			if err == nil {
				_, err = s.PrepareRoot(t.Context(), fmt.Sprint("c", i), names[i%2])
			}
			errs <- err
		}()
	}
	collected := make(chan error, 1)
	go func() { // meanwhile the collector runs
		var err error
		for range 20 {
			_, serr := c.Sweep(t.Context())
			err = errors.Join(err, serr)
		}
		collected <- err
	}()
	for range 10 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := <-collected; err != nil {
		t.Error(err)
	}
}
