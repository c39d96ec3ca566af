package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// pullError words what a registry answered to a pull as docker does: people search for these sentences.
func pullError(err error, ref reference.Named) error {
	familiar := reference.FamiliarString(ref)
	status, code, message := registryAnswer(err)
	switch {
	case snapshot.Full(err), errkind.Of(err) != nil:
		return content.Wrap(err, "pull image %q", familiar)
	case code == "UNAUTHORIZED" || code == "DENIED" || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return errkind.New(errkind.Denied, "pull access denied for %s, repository does not exist or may require 'docker login': %s", reference.FamiliarName(ref), denial(code, message))
	case code == "NAME_UNKNOWN":
		return errkind.New(errkind.NotFound, "repository %s not found: name unknown: %s", reference.FamiliarName(ref), message)
	case code == "MANIFEST_UNKNOWN" || status == http.StatusNotFound || (errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "no matching manifest")):
		return errkind.New(errkind.NotFound, "manifest for %s not found: manifest unknown: manifest unknown", familiar)
	case code == "TOOMANYREQUESTS" || status == http.StatusTooManyRequests:
		return errkind.New(errkind.Unavailable, "toomanyrequests: %s", message)
	}
	unreached := registryError(err, reference.Domain(ref), fmt.Sprintf("pull image %q", familiar))
	if errkind.Of(unreached) != errkind.Unavailable {
		return unreached
	}
	return errkind.New(errkind.Unavailable, "%w (an image can also be loaded from a file: cuppa image load -i FILE)", unreached)
}

// pushError is pullError for pushes.
func pushError(err error, ref reference.Named) error {
	status, code, message := registryAnswer(err)
	switch {
	case code == "DENIED" || status == http.StatusForbidden:
		return errkind.New(errkind.Denied, "denied: %s", denial(code, message))
	case code == "UNAUTHORIZED" || status == http.StatusUnauthorized:
		return errkind.New(errkind.Denied, "unauthorized: authentication required: push to %s needs a login", reference.FamiliarName(ref))
	}
	return registryError(err, reference.Domain(ref), fmt.Sprintf("push image %q", reference.FamiliarString(ref)))
}

// registryError is for everything that is not about one image: a registry that cannot be reached, or not be trusted.
func registryError(err error, host, doing string) error {
	if wrapped := content.Wrap(err, "%s", doing); errkind.Of(wrapped) != errkind.Internal {
		return wrapped
	}
	var request *url.Error
	if errors.As(err, &request) { // what the libraries say around it repeats names the message has already
		return errkind.New(errkind.Unavailable, "%s: registry %s cannot be reached: %w", doing, host, request.Err)
	}
	return errkind.New(errkind.Unavailable, "%s: registry %s: %w", doing, host, err)
}

// registryAnswer takes status, error code and words out of an error that a registry answered.
func registryAnswer(err error) (status int, code, message string) {
	var unexpected remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &unexpected) {
		status = unexpected.StatusCode
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if json.Unmarshal(unexpected.Body, &body) == nil && len(body.Errors) > 0 {
			return status, body.Errors[0].Code, body.Errors[0].Message
		}
		return status, "", strings.TrimSpace(string(unexpected.Body))
	}
	switch {
	case err == nil:
	case errdefs.IsUnauthorized(err), strings.Contains(err.Error(), "authorization failed"), strings.Contains(err.Error(), "no basic auth credentials"):
		return http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden, "DENIED", "requested access to the resource is denied"
	}
	return 0, "", ""
}

func denial(code, message string) string {
	if code == "UNAUTHORIZED" || message == "" {
		return "unauthorized: authentication required"
	}
	return "denied: " + message
}
