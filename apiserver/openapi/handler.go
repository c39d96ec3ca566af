package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"

	jsonType    = "application/json"
	protoV2Type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoV3Type = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// Handler serves /openapi/v2, /openapi/v3 and the documents below it. It is safe for concurrent use.
type Handler struct {
	v2    Document
	v3    map[string]Document // by path, "apis/apps/v1"
	root  []byte              // the answer of /openapi/v3
	since string              // Last-Modified of everything
}

// New returns a handler of the embedded documents.
func New() (*Handler, error) {
	index, err := readIndex()
	if err != nil {
		return nil, err
	}
	h := &Handler{v2: index.V2, v3: map[string]Document{}, since: time.Now().UTC().Format(http.TimeFormat)}
	type link struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]link{}
	for _, doc := range index.V3 {
		h.v3[doc.Path] = doc
		paths[doc.Path] = link{ServerRelativeURL: versionURL(doc)}
	}
	if h.root, err = json.Marshal(map[string]any{"paths": paths}); err != nil {
		return nil, fmt.Errorf("encode list of documents: %w", err)
	}
	return h, nil
}

// versionURL names one state of a document: what it answers may be kept for ever.
func versionURL(doc Document) string {
	return v3Path + "/" + doc.Path + "?hash=" + url.QueryEscape(doc.Hash)
}

// GroupVersions returns the groups and versions that have a document.
func (h *Handler) GroupVersions() []schema.GroupVersion {
	var out []schema.GroupVersion
	for path := range h.v3 {
		parts := strings.Split(path, "/")
		gv := schema.GroupVersion{Version: parts[len(parts)-1]}
		if len(parts) == 3 {
			gv.Group = parts[1]
		}
		out = append(out, gv)
	}
	return out
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path == v2Path:
		h.serve(w, r, h.v2, protoV2Type, "v2")
	case path == v3Path:
		w.Header().Set("Content-Type", jsonType)
		w.Write(h.root)
	case strings.HasPrefix(path, v3Path+"/"):
		h.serveVersion(w, r, strings.TrimPrefix(path, v3Path+"/"))
	default:
		http.NotFound(w, r)
	}
}

// serveVersion serves one v3 document. With a hash in the query the answer never changes; with a wrong hash the client is sent
// to the right one.
func (h *Handler) serveVersion(w http.ResponseWriter, r *http.Request, path string) {
	doc, ok := h.v3[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != doc.Hash {
			http.Redirect(w, r, versionURL(doc), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	h.serve(w, r, doc, protoV3Type, "v3")
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, doc Document, protoType, version string) {
	header := w.Header()
	header.Add("Vary", "Accept")
	contentType, ok := negotiate(r.Header.Values("Accept"), protoType, version)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	etag := strconv.Quote(doc.Hash)
	header.Set("ETag", etag)
	header.Set("Last-Modified", h.since)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	file := doc.File + ".pb.gz"
	if contentType == jsonType {
		file = doc.File + ".json.gz"
	}
	header.Set("Content-Type", contentType)
	header.Add("Vary", "Accept-Encoding")
	content, err := blobs.ReadFile("blobs/" + file)
	if err == nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		header.Set("Content-Encoding", "gzip")
	} else if err == nil {
		content, err = unzip(file)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("read document: %v", err), http.StatusInternalServerError)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
}

func matches(ifNoneMatch, etag string) bool {
	for _, each := range strings.Split(ifNoneMatch, ",") {
		if each = strings.TrimPrefix(strings.TrimSpace(each), "W/"); each == etag || each == "*" {
			return true
		}
	}
	return false
}

// negotiate picks the first type of the Accept header that there is. Clients name the protobuf form in two ways, as an older
// one was not a legal media type.
func negotiate(accept []string, protoType, version string) (string, bool) {
	all := strings.Join(accept, ",")
	if strings.TrimSpace(all) == "" {
		return jsonType, true
	}
	old := "application/com.github.proto-openapi.spec." + version + "@v1.0+protobuf"
	for _, each := range strings.Split(all, ",") {
		media, _, _ := strings.Cut(each, ";")
		switch strings.TrimSpace(media) {
		case jsonType, "application/*", "*/*":
			return jsonType, true
		case protoType, old:
			return protoType, true
		}
	}
	return "", false
}

func acceptsGzip(encodings string) bool {
	for _, each := range strings.Split(encodings, ",") {
		name, quality, _ := strings.Cut(each, ";")
		if name = strings.TrimSpace(name); name == "gzip" || name == "*" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}
