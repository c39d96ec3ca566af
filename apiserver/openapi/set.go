package openapi

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/openapi/document"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// source is where a description comes from. Both methods may take as long as making it does.
type source interface {
	// hash names the content, in both forms.
	hash() (string, error)
	// content is the JSON or the protobuf form, and whether it is compressed.
	content(json bool) (data []byte, zipped bool, err error)
}

// embedded is a description that was made beforehand.
type embedded Document

func (e embedded) hash() (string, error) { return e.Hash, nil }

func (e embedded) content(json bool) ([]byte, bool, error) {
	file := e.File + ".pb.gz"
	if json {
		file = e.File + ".json.gz"
	}
	data, err := blobs.ReadFile("blobs/" + file)
	return data, true, err
}

// made is a description that is made when it is first asked for.
type made struct {
	rows []*registry.Kind // what it describes
	once func() (document.Document, error)
}

func (m made) hash() (string, error) {
	doc, err := m.once()
	return HashOf(doc), err
}

func (m made) content(json bool) ([]byte, bool, error) {
	doc, err := m.once()
	if json {
		return doc.JSON, false, err
	}
	return doc.Protobuf, false, err
}

// HashOf is the hash by which a document is known, in upper-case hexadecimal.
func HashOf(doc document.Document) string { return fmt.Sprintf("%X", sha512.Sum512(doc.JSON)) }

// set is what describes one snapshot of the registry.
type set struct {
	v2   source
	v3   map[string]source // by path, "apis/apps/v1"
	root func() ([]byte, error)
}

// newSet finds out which descriptions were made beforehand, and prepares the others.
func (h *Handler) newSet(table *registry.Snapshot) (*set, error) {
	s := &set{v3: map[string]source{}}
	asEmbedded := 0
	var described []*registry.Kind
	for _, gv := range table.GroupVersions() {
		rows := slices.DeleteFunc(slices.Clone(table.In(gv)), func(k *registry.Kind) bool { return k.Storage == registry.Proxied })
		if len(rows) == 0 {
			continue // another server describes it
		}
		described = append(described, rows...)
		path := strings.TrimPrefix(document.Root(gv), "/")
		if doc, ok := h.beforehand[path]; ok && slices.Equal(rows, h.first.In(gv)) {
			s.v3[path] = embedded(doc)
			asEmbedded++
			continue
		}
		s.v3[path] = h.made(gv, rows)
	}
	if s.v2 = embedded(h.v2); asEmbedded != len(h.beforehand) || len(s.v3) != asEmbedded {
		s.v2 = made{described, sync.OnceValues(func() (document.Document, error) { return document.V2(table) })}
	}
	s.root = sync.OnceValues(s.list)
	return s, nil
}

// made returns the description of rows that was made for an earlier snapshot, if the rows are the same, or a new one.
func (h *Handler) made(gv schema.GroupVersion, rows []*registry.Kind) source {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, ok := h.later[gv]; ok && slices.Equal(before.rows, rows) {
		return before
	}
	m := made{rows, sync.OnceValues(func() (document.Document, error) { return document.V3(gv, rows) })}
	h.later[gv] = m
	return m
}

// list is the answer of /openapi/v3. A group and version whose description cannot be made is left out: it would break the others' clients.
func (s *set) list() ([]byte, error) {
	type link struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]link{}
	for path, doc := range maps.All(s.v3) {
		if hash, err := doc.hash(); err == nil {
			paths[path] = link{ServerRelativeURL: versionURL(path, hash)}
		}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

// versionURL names one state of a document: what it answers may be kept for ever.
func versionURL(path, hash string) string {
	return v3Path + "/" + path + "?hash=" + url.QueryEscape(hash)
}
