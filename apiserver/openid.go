package apiserver

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/rest"
)

// serveOpenID tells others how to verify the service account tokens that are shown to them.
func (s *Server) serveOpenID(w http.ResponseWriter, req *http.Request) {
	documents := map[string]struct {
		mediaType string
		content   func(*authn.Accounts) ([]byte, error)
	}{
		authn.DiscoveryPath: {"application/json", (*authn.Accounts).Discovery},
		authn.KeysPath:      {"application/jwk-set+json", (*authn.Accounts).Keys},
	}
	document, ok := documents[req.URL.Path]
	if !ok || s.rest.Accounts == nil {
		rest.WriteError(w, req, notFound())
		return
	}
	content, err := document.content(s.rest.Accounts)
	if err != nil {
		rest.WriteError(w, req, apierrors.NewInternalError(err))
		return
	}
	w.Header().Set("Content-Type", document.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(content) // a client that has gone away misses nothing
}
