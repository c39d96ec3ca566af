package image

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// entry is one line of a docker configuration file.
type entry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// credentials are what may open the registry of an image: those in the pod's pull secrets, which include its service account's since it was
// created, the most specific path first.
func (p *Puller) credentials(ctx context.Context, pod *corev1.Pod, image string) []*runtimeapi.AuthConfig {
	found := map[string][]entry{}
	for _, name := range pod.Spec.ImagePullSecrets {
		secret, err := p.Source.Secret(ctx, pod.Namespace, name.Name)
		if err != nil {
			continue // a missing pull secret does not matter if the image can be had without it
		}
		for registry, e := range parse(secret) {
			found[registry] = append(found[registry], e)
		}
	}
	return Match(found, image)
}

func parse(secret *corev1.Secret) map[string]entry {
	out := map[string]entry{}
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]entry `json:"auths"`
		}
		if json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file) == nil {
			out = file.Auths
		}
	case corev1.SecretTypeDockercfg:
		_ = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &out) // what cannot be read opens nothing
	}
	return out
}

// Match picks the entries whose registry pattern fits an image's name.
func Match(found map[string][]entry, image string) []*runtimeapi.AuthConfig {
	target := qualified(image)
	var patterns []string
	for pattern := range found {
		if fits(pattern, target) {
			patterns = append(patterns, pattern)
		}
	}
	slices.SortFunc(patterns, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var out []*runtimeapi.AuthConfig
	for _, pattern := range patterns {
		for _, e := range found[pattern] {
			out = append(out, e.config(pattern))
		}
	}
	return out
}

func (e entry) config(server string) *runtimeapi.AuthConfig {
	out := &runtimeapi.AuthConfig{
		Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
		ServerAddress: server,
	}
	if out.Username == "" && e.Auth != "" {
		if decoded, err := base64.StdEncoding.DecodeString(e.Auth); err == nil {
			out.Username, out.Password, _ = strings.Cut(string(decoded), ":")
		}
	}
	return out
}

const defaultRegistry = "docker.io"

// qualified is an image's name with the registry that short names mean.
func qualified(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return defaultRegistry + "/" + image
	}
	return image
}

// fits tells whether a pattern such as "https://index.docker.io/v1/", "*.example.org:5000" or "example.org/team" covers an image.
func fits(pattern, target string) bool {
	pattern = strings.TrimPrefix(strings.TrimPrefix(pattern, "https://"), "http://")
	host, prefix, _ := strings.Cut(pattern, "/")
	prefix = strings.Trim(prefix, "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = defaultRegistry
	}
	targetHost, rest, _ := strings.Cut(target, "/")
	if len(strings.Split(host, ".")) != len(strings.Split(targetHost, ".")) {
		return false
	}
	if ok, err := path.Match(host, targetHost); err != nil || !ok {
		return false
	}
	return prefix == "" || rest == prefix || strings.HasPrefix(rest, prefix+"/") || strings.HasPrefix(rest, prefix+":")
}
