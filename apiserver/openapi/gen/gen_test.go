package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
)

// TestUpToDate makes the documents again and compares them with those embedded.
func TestUpToDate(t *testing.T) {
	files, err := build(kinds.All())
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "blobs")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%v: run `go generate ./apiserver/openapi`", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run `go generate ./apiserver/openapi`", name)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()] == nil {
			t.Errorf("%s is no longer made: run `go generate ./apiserver/openapi`", entry.Name())
		}
	}
}
