package image

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// DanglingPrefix starts the names of images that lost their last tag. They keep an image until it is pruned or removed by ID.
const DanglingPrefix = "dangling"

// danglingName names an image that has no other name.
func danglingName(target digest.Digest) string { return DanglingPrefix + "@" + target.String() }

func isDangling(name string) bool { return strings.HasPrefix(name, DanglingPrefix+"@") }

// ParseName reads an image name as docker does: "redis" is docker.io/library/redis:latest. A name with a digest keeps it, and loses its tag.
func ParseName(name string) (reference.Named, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%q is no image name: %w", name, err)
	}
	return ref, nil
}

// FullName is the name under which an image is stored: "redis" is "docker.io/library/redis:latest".
func FullName(name string) (string, error) {
	ref, err := ParseName(name)
	if err != nil {
		return "", err
	}
	return ref.String(), nil
}

// ShortName is the name as people write it: "docker.io/library/redis:latest" is "redis:latest". What is no name comes back unchanged.
func ShortName(name string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// repository is the name without tag and digest, in full.
func repository(name string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	return ref.Name()
}

func hasDigest(name string) bool { return strings.Contains(name, "@") }

// idPrefix says whether ref may be an image ID or the beginning of one, and gives its hexadecimal part.
func idPrefix(ref string) (string, bool) {
	hex, full := strings.CutPrefix(ref, "sha256:")
	if hex == "" || len(hex) > 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	return hex, full || len(hex) >= 4 // "a" is far more likely a name
}
