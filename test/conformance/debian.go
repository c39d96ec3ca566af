package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// release is the Debian that the images stand on.
const release = "bookworm"

// packages are the ones that the images' cases call, besides what every Debian has.
var packages = []string{
	"bind9-dnsutils", // dig, in agnhost and dns
	"busybox",
	"ca-certificates",
	"curl", "hostname", "iproute2", "iptables", "iputils-ping", "netcat-openbsd", "procps", "socat", "wget", // agnhost
	"nginx",
	"perl-base",
	"stress",     // resource-consumer
	"util-linux", // ipcs
}

// unwanted takes no place in the images.
var unwanted = []string{"./proc/*", "./sys/*", "./dev/*", "./usr/share/doc/*", "./usr/share/locale/*", "./usr/share/man/*", "./var/cache/apt/*", "./var/lib/apt/lists/*"}

func (c *conformance) debian() string {
	return filepath.Join(c.cache, "debian-"+release+"-"+digest(packages)+".tar")
}

// makeDebian makes the root file system of all images, once.
func (c *conformance) makeDebian(ctx context.Context) (err error) {
	if _, err := os.Stat(c.debian()); err == nil {
		return nil
	}
	say("making the images' Debian (%s) with debootstrap", release)
	mirror, err := debianMirror()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.cache, "debian-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(dir)) }()
	args := []string{"--variant=minbase", "--include=" + strings.Join(packages, ","), release, dir}
	if mirror != "" {
		args = append(args, mirror)
	}
	if err := c.command(ctx, "debootstrap", args...).do(); err != nil {
		return err
	}
	part := c.debian() + ".part"
	args = []string{"-C", dir, "-cf", part, "--sort=name", "--one-file-system"}
	for _, path := range unwanted {
		args = append(args, "--exclude="+path)
	}
	if err := c.command(ctx, "tar", append(args, ".")...).do(); err != nil {
		return err
	}
	return os.Rename(part, c.debian())
}

// debianMirror is the mirror that apt of this machine uses for Debian itself; "" leaves the choice to debootstrap.
func debianMirror() (string, error) {
	files, err := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	if err != nil {
		return "", err
	}
	lists, err := filepath.Glob("/etc/apt/sources.list.d/*.list")
	if err != nil {
		return "", err
	}
	for _, path := range append(append(files, "/etc/apt/sources.list"), lists...) {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look for apt's mirror: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if mirror := mirrorOf(lines.Text()); mirror != "" {
				f.Close()
				return mirror, nil
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return "", fmt.Errorf("look for apt's mirror in %s: %w", path, err)
		}
	}
	return "", nil
}

// mirrorOf finds the address of Debian's main archive in a line of apt's sources, in either of their two forms.
func mirrorOf(line string) string {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "URIs:" && words[0] != "deb" {
		return ""
	}
	for _, word := range words[1:] {
		if strings.HasSuffix(strings.TrimSuffix(word, "/"), "/debian") {
			return word
		}
	}
	return ""
}

// removeTree removes a tree in which something may still be mounted: it refuses then, and says so.
func removeTree(dir string) error {
	if mounts, err := mountsBelow(dir); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("%s has mounts below it (%s): it is left", dir, strings.Join(mounts, ", ")))
	}
	return os.RemoveAll(dir)
}
