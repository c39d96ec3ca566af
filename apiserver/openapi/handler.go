package openapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"

	jsonType    = "application/json"
	protoV2Type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoV3Type = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// Handler serves /openapi/v2, /openapi/v3 and the documents below it, for what the registry serves at the moment. It is safe for concurrent use.
type Handler struct {
	registry   *registry.Registry
	sets       *registry.Derivation[*set]
	first      *registry.Snapshot  // what the embedded documents describe
	v2         Document            // of everything in first
	beforehand map[string]Document // v3, by path
	since      string              // Last-Modified of everything

	mu    sync.Mutex
	later map[schema.GroupVersion]made // made while the server runs
}

// New returns a handler of what a registry serves. What is served now, of the kinds that a server begins with, is described by the embedded documents.
func New(of *registry.Registry) (*Handler, error) {
	index, err := readIndex()
	if err != nil {
		return nil, err
	}
	h := &Handler{registry: of, first: of.Current(), v2: index.V2, beforehand: map[string]Document{}, since: time.Now().UTC().Format(http.TimeFormat),
		later: map[schema.GroupVersion]made{}}
	for _, doc := range index.V3 {
		h.beforehand[doc.Path] = doc
	}
	h.sets = registry.Derive(h.newSet)
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	now, err := h.sets.Of(h.registry.Current())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path == v2Path:
		h.serve(w, r, now.v2, protoV2Type, "v2")
	case path == v3Path:
		serveRoot(w, now)
	case strings.HasPrefix(path, v3Path+"/"):
		h.serveVersion(w, r, now, strings.TrimPrefix(path, v3Path+"/"))
	default:
		http.NotFound(w, r)
	}
}

func serveRoot(w http.ResponseWriter, now *set) {
	root, err := now.root()
	if err != nil {
		http.Error(w, fmt.Sprintf("list documents: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(root) // a client that has gone away misses nothing
}

// serveVersion serves one v3 document. With a hash in the query the answer never changes; with a wrong hash the client is sent
// to the right one.
func (h *Handler) serveVersion(w http.ResponseWriter, r *http.Request, now *set, path string) {
	doc, ok := now.v3[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if wanted := r.URL.Query().Get("hash"); wanted != "" {
		hash, err := doc.hash()
		if err != nil {
			http.Error(w, fmt.Sprintf("describe %s: %v", path, err), http.StatusInternalServerError)
			return
		}
		if wanted != hash {
			http.Redirect(w, r, versionURL(path, hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	h.serve(w, r, doc, protoV3Type, "v3")
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, doc source, protoType, version string) {
	header := w.Header()
	header.Add("Vary", "Accept")
	contentType, ok := negotiate(r.Header.Values("Accept"), protoType, version)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	hash, err := doc.hash()
	if err != nil {
		http.Error(w, fmt.Sprintf("describe what is served: %v", err), http.StatusInternalServerError)
		return
	}
	etag := strconv.Quote(hash)
	header.Set("ETag", etag)
	header.Set("Last-Modified", h.since)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", contentType)
	header.Add("Vary", "Accept-Encoding")
	content, zipped, err := doc.content(contentType == jsonType)
	if err == nil && zipped {
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			header.Set("Content-Encoding", "gzip")
		} else {
			content, err = unzip(content)
		}
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
