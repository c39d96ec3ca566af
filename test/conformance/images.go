package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// image is one image that cases use. Its Dockerfile is in images/NAME.
type image struct {
	name     string
	tags     []string // under which the suite asks for it
	programs []string // of the table of programs, put beside the Dockerfile
	upstream []string // files and folders of Kubernetes' test/images, put beside the Dockerfile
}

const suite = "registry.k8s.io/e2e-test-images/"

// images is the table of all of them, in an order in which each finds the ones that it stands on. All stand on Debian's packages (debian.go),
// but for pause, which is one static program.
var images = []image{
	{name: "debian"},
	{name: "agnhost", tags: []string{suite + "agnhost:2.66.1", suite + "agnhost:2.55"}, programs: []string{"agnhost"},
		upstream: []string{"agnhost/porter/localhost.crt", "agnhost/porter/localhost.key"}},
	{name: "busybox", tags: []string{suite + "busybox:1.37.0-2", "busybox:latest"}},
	{name: "dns", tags: []string{suite + "glibc-dns-testing:2.1.1"}},
	{name: "etcd", tags: []string{"registry.k8s.io/etcd:3.7.0-0"}, programs: []string{"etcd"}},
	{name: "ipc-utils", tags: []string{suite + "ipc-utils:1.4"}},
	{name: "kitten", tags: []string{suite + "kitten:1.8"}, upstream: []string{"kitten/html"}},
	{name: "nautilus", tags: []string{suite + "nautilus:1.8"}, upstream: []string{"nautilus/html"}},
	{name: "nginx", tags: []string{suite + "nginx:1.27.0-2"}},
	{name: "nginx-new", tags: []string{suite + "nginx:1.28.0-2"}},
	{name: "nonewprivs", tags: []string{suite + "nonewprivs:1.4"}, programs: []string{"nonewprivs"}},
	{name: "nonroot", tags: []string{suite + "nonroot:1.5"}},
	{name: "pause", tags: []string{"registry.k8s.io/pause:3.10.2"}, programs: []string{"pause"}},
	{name: "perl", tags: []string{suite + "perl:5.26"}},
	{name: "regression-issue-74839", tags: []string{suite + "regression-issue-74839:1.5"}, programs: []string{"regression-issue-74839"}},
	{name: "resource-consumer", tags: []string{suite + "resource-consumer:1.14"}, programs: []string{"consumer", "consume-cpu"}},
	{name: "sample-apiserver", tags: []string{suite + "sample-apiserver:1.29.2"}, programs: []string{"sample-apiserver"}},
}

// own is the name under which the other images find one to stand on.
func (i image) own() string { return "conformance/" + i.name }

// loadImages gives every node all images: from the archive in the cache, which the first node makes if it is not there.
func (c *conformance) loadImages(ctx context.Context, nodes *cluster) error {
	sum, err := c.imageSources()
	if err != nil {
		return err
	}
	archive := filepath.Join(c.cache, "images-"+sum+".tar")
	fresh := nodes.nodes
	if _, err := os.Stat(archive); err != nil {
		if err := c.makeImages(ctx, nodes.nodes[0], archive); err != nil {
			return err
		}
		fresh = fresh[1:] // the first has built them
	}
	for _, n := range fresh {
		say("loading %d images into %s", len(images), n.name)
		if err := n.cuppa(ctx, "image", "load", "-i", archive).do(); err != nil {
			return err
		}
	}
	return nil
}

func (c *conformance) makeImages(ctx context.Context, on *node, archive string) error {
	source, err := c.kubernetes(ctx, "{{.Dir}}")
	if err != nil {
		return err
	}
	var names []string
	for _, i := range images {
		say("making image %s", i.name)
		if err := c.makeImage(ctx, on, i, filepath.Join(source, "test", "images")); err != nil {
			return fmt.Errorf("make image %s: %w", i.name, err)
		}
		names = append(names, i.tags...)
	}
	say("keeping the images in %s", archive)
	part := archive + ".part"
	if err := on.cuppa(ctx, append([]string{"image", "save", "-o", part}, names...)...).do(); err != nil {
		return err
	}
	return os.Rename(part, archive)
}

// makeImage gathers what an image is made of in a folder and builds it there.
func (c *conformance) makeImage(ctx context.Context, on *node, i image, source string) (err error) {
	dir, err := os.MkdirTemp(c.cache, "image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := []string{c.here("images/" + i.name + "/Dockerfile")}
	for _, p := range i.programs {
		files = append(files, c.bin(p))
	}
	for _, path := range i.upstream {
		files = append(files, filepath.Join(source, path))
	}
	// The module cache is read-only; what is built from must not be.
	args := append([]string{"-rL", "--no-preserve=mode", "--reflink=auto"}, append(files, dir)...)
	if err := c.command(ctx, "cp", args...).do(); err != nil {
		return err
	}
	for _, p := range i.programs {
		if err := os.Chmod(filepath.Join(dir, p), 0o755); err != nil {
			return err
		}
	}
	if i.name == "debian" {
		if err := os.Link(c.debian(), filepath.Join(dir, "debian.tar")); err != nil {
			return err
		}
	}
	build := []string{"image", "build", "--progress", "plain", "-t", i.own()}
	for _, tag := range i.tags {
		build = append(build, "-t", tag)
	}
	return on.cuppa(ctx, append(build, dir)...).do()
}

// imageSources is a sum over everything that the images are made of.
func (c *conformance) imageSources() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, images, c.debian())
	err := filepath.WalkDir(c.here("images"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", d.Name(), len(raw), raw)
		return err
	})
	for _, p := range programs {
		made, err := c.sources(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, made)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), err
}

// digest is a short sum over words.
func digest(words []string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	return hex.EncodeToString(sum[:6])
}
