package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// program is one executable that the suite, or one of its images, is made of.
type program struct {
	name string
	from string // a Go package of the module in upstream/, or a C file of images/
	kind kind
}

type kind int

const (
	command kind = iota // a package main
	tests               // a package whose tests are compiled
	cFile               // a C file
)

// programs is the table of all of them.
var programs = []program{
	{"e2e.test", "k8s.io/kubernetes/test/e2e", tests},
	{"ginkgo", "github.com/onsi/ginkgo/v2/ginkgo", command},
	{"agnhost", "k8s.io/kubernetes/test/images/agnhost", command},
	{"sample-apiserver", "k8s.io/sample-apiserver", command},
	{"etcd", "go.etcd.io/etcd/server/v3", command},
	{"nonewprivs", "k8s.io/kubernetes/test/images/nonewprivs", command},
	{"regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839", command},
	{"consumer", "k8s.io/kubernetes/test/images/resource-consumer", command},
	{"consume-cpu", "k8s.io/kubernetes/test/images/resource-consumer/consume-cpu", command},
	{"pause", "images/pause/pause.c", cFile},
}

func (c *conformance) upstream() string {
	return filepath.Join(c.root, "test", "conformance", "upstream")
}
func (c *conformance) bin(name string) string { return filepath.Join(c.cache, "bin", name) }
func (c *conformance) here(path string) string {
	return filepath.Join(c.root, "test", "conformance", path)
}

// buildPrograms builds what is missing, or was built from other sources.
func (c *conformance) buildPrograms(ctx context.Context) error {
	version, err := c.kubernetes(ctx, "{{.Version}}")
	if err != nil {
		return err
	}
	for _, p := range programs {
		sum, err := c.sources(p)
		if err != nil {
			return err
		}
		stamp := c.bin("." + p.name + ".made-of")
		if made, err := os.ReadFile(stamp); err == nil && string(made) == sum {
			if _, err := os.Stat(c.bin(p.name)); err == nil {
				continue
			}
		}
		say("building %s from %s", p.name, p.from)
		if err := c.build(ctx, p, version); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		if err := os.WriteFile(stamp, []byte(sum), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *conformance) build(ctx context.Context, p program, version string) error {
	if p.kind == cFile {
		return c.command(ctx, "gcc", "-static", "-O2", "-s", "-o", c.bin(p.name), c.here(p.from)).do()
	}
	verb := []string{"build"}
	if p.kind == tests {
		verb = []string{"test", "-c"}
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const stamped = "k8s.io/component-base/version."
	flags := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", stamped, version, major, minor)
	cmd := c.command(ctx, "go", append(verb, "-ldflags", flags, "-o", c.bin(p.name), p.from)...)
	cmd.Dir = c.upstream()
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	return cmd.do()
}

// sources is a sum over what a program is made of.
func (c *conformance) sources(p program) (string, error) {
	files := []string{filepath.Join(c.upstream(), "go.mod"), filepath.Join(c.upstream(), "go.sum")}
	if p.kind == cFile {
		files = []string{c.here(p.from)}
	}
	sum := sha256.New()
	fmt.Fprintln(sum, p)
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		sum.Write(raw)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// kubernetes asks for a fact about the module that the suite comes from, downloading it if it is not there.
func (c *conformance) kubernetes(ctx context.Context, fact string) (string, error) {
	cmd := c.command(ctx, "go", "mod", "download")
	cmd.Dir = c.upstream()
	if err := cmd.do(); err != nil {
		return "", fmt.Errorf("download the suite: %w", err)
	}
	cmd = c.command(ctx, "go", "list", "-m", "-f", fact, "k8s.io/kubernetes")
	cmd.Dir = c.upstream()
	out, err := cmd.read()
	return strings.TrimSpace(out), err
}
