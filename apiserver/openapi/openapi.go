// Package openapi serves the API's own description, and the schema that server-side apply merges by.
//
// What describes the built-in kinds is made beforehand by gen (run `go generate` here after a change of the table of kinds) and embedded, so that
// nothing is built at start. What describes kinds that come later is made when it is first asked for, and goes with them (set.go). It knows no objects
// and no store. Start with Handler, in handler.go, and TypeConverter, in converter.go.
package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
)

//go:generate go tool openapi-gen --output-dir definitions --output-pkg github.com/cuppa-project/cuppa/apiserver/openapi/definitions --output-file zz_generated.openapi.go --go-header-file definitions/header.txt -r /dev/null k8s.io/api/core/v1 k8s.io/api/apps/v1 k8s.io/api/autoscaling/v1 k8s.io/api/policy/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 k8s.io/api/certificates/v1 k8s.io/api/discovery/v1 k8s.io/api/coordination/v1 k8s.io/api/events/v1 k8s.io/api/networking/v1 k8s.io/api/node/v1 k8s.io/api/scheduling/v1 k8s.io/api/storage/v1 k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/api/resource
//go:generate go run ./gen blobs

//go:embed blobs
var blobs embed.FS

// The files that gen writes besides the documents.
const (
	IndexFile  = "index.json"
	SchemaFile = "schema.json.gz"
)

// Index lists the documents.
type Index struct {
	V2 Document
	V3 []Document
}

// Document is one description in two forms: File + ".json.gz" and File + ".pb.gz".
type Document struct {
	Path string `json:",omitempty"` // "apis/apps/v1"; empty for v2
	File string
	Hash string // of the JSON form, in upper-case hexadecimal
}

// readIndex returns the list of documents.
func readIndex() (Index, error) {
	var index Index
	content, err := blobs.ReadFile("blobs/" + IndexFile)
	if err != nil {
		return index, fmt.Errorf("read index: %w", err)
	}
	if err := json.Unmarshal(content, &index); err != nil {
		return index, fmt.Errorf("parse index: %w", err)
	}
	return index, nil
}

// unzip returns what was compressed.
func unzip(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
