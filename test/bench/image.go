package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// writeBusybox writes a docker-archive of Debian's static busybox, one layer, named busybox.
func writeBusybox(path string) error {
	layer, err := busyboxLayer()
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf(`[{"Config":"%s.json","RepoTags":["busybox:latest"],"Layers":["layer.tar"]}]`, digest(config))
	archive := &archive{}
	archive.file(digest(config)+".json", 0o644, config)
	archive.file("layer.tar", 0o644, layer)
	archive.file("manifest.json", 0o644, []byte(manifest))
	raw, err := archive.end()
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

func busyboxLayer() ([]byte, error) {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("the pods' image is made of Debian's busybox-static: %w", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list busybox's programs: %w", err)
	}
	layer := &archive{}
	for _, dir := range []string{"bin", "etc", "root", "tmp"} {
		layer.entry(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	layer.file("bin/busybox", 0o755, program)
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			layer.entry(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	layer.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	return layer.end()
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// archive is a tar file in memory; the first fault is told at the end.
type archive struct {
	out bytes.Buffer
	tar *tar.Writer
	err error
}

func (a *archive) file(name string, mode int64, data []byte) {
	a.entry(tar.Header{Name: name, Mode: mode}, data)
}

func (a *archive) entry(header tar.Header, data []byte) {
	if a.tar == nil {
		a.tar = tar.NewWriter(&a.out)
	}
	header.Size = int64(len(data))
	if a.err == nil {
		a.err = a.tar.WriteHeader(&header)
	}
	if a.err == nil {
		_, a.err = a.tar.Write(data)
	}
}

func (a *archive) end() ([]byte, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	return a.out.Bytes(), a.err
}
