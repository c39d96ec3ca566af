// Package registrytest runs a real registry for a test: Debian's docker-registry, on a free port of the loopback, gone at the test's end.
//
// It is no fake: what passes here passes with the registry most people run. Start with Start.
package registrytest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Config is what a test asks of its registry.
type Config struct {
	TLS  bool   // with a certificate of its own making
	Auth string // YAML of the auth section; "": anybody may push and pull
}

// Registry is a running registry.
type Registry struct {
	Host string // address and port
	Dir  string // what it stores is below
	CA   []byte // PEM of what signed its certificate, with TLS
}

// Start runs a registry, and skips the test if there is none on this machine.
func Start(t testing.TB, cfg Config) Registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs a registry to talk to (package docker-registry)")
	}
	r := Registry{Dir: t.TempDir()}
	section := ""
	if cfg.TLS {
		cert, key := SelfSigned(t, r.Dir)
		section = fmt.Sprintf("  tls:\n    certificate: %s\n    key: %s\n", cert, key)
		if r.CA, err = os.ReadFile(cert); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(r.Dir, "config.yml")
	yaml := fmt.Sprintf("version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: %s/store\nhttp:\n  addr: 127.0.0.1:0\n  secret: x\n%s%s",
		r.Dir, section, cfg.Auth)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	r.Host = address(t, output)
	go io.Copy(io.Discard, output)
	return r
}

// address reads the registry's log until it says where it listens.
func address(t testing.TB, log io.Reader) string {
	t.Helper()
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("the registry did not come up:\n%s", said.String())
	return ""
}

// SelfSigned writes a certificate for 127.0.0.1 and its key into dir.
func SelfSigned(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
