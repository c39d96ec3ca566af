// Command gen makes the OpenAPI documents that the server embeds: from the definitions in ../definitions and the table of kinds,
// one document per group and version (v3) and one of all (v2), each as JSON and as protobuf, and the schema that
// server-side apply merges by. It is run by `go generate` in the parent folder, never by the server.
// Start with build, in build.go; routes.go says which paths and operations there are.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen OUTPUT-FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// write replaces the folder's files by what the table of kinds now demands.
func write(folder string) error {
	files, err := build(kinds.All())
	if err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("remove old documents: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("write document: %w", err)
		}
	}
	return nil
}
