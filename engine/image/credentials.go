package image

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Auth is a login at a registry, in the shape of docker's X-Registry-Auth header.
type Auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"` // base64 of "username:password"
	ServerAddress string `json:"serveraddress,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"` // buys access tokens
	RegistryToken string `json:"registrytoken,omitempty"` // is itself an access token
}

// Empty says that there is no login.
func (a Auth) Empty() bool {
	return a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" && a.Auth == ""
}

// normal spells out what the Auth field packs together.
func (a Auth) normal() (Auth, error) {
	if a.Auth == "" || a.Username != "" {
		return a, nil
	}
	plain, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return a, fmt.Errorf("read registry login: %w", err)
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return a, fmt.Errorf("read registry login: it is no user:password")
	}
	a.Username, a.Password, a.Auth = user, strings.TrimRight(password, "\x00"), ""
	return a, nil
}

// dockerConfig is the part of docker's configuration file that has logins.
type dockerConfig struct {
	Auths       map[string]Auth   `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// DockerConfigCredentials finds the login for a registry host in $DOCKER_CONFIG/config.json or ~/.docker/config.json, through the credential
// helpers it names too. No file or no entry is an empty Auth.
func DockerConfigCredentials(host string) (Auth, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Auth{}, nil
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return Auth{}, nil
	}
	if err != nil {
		return Auth{}, fmt.Errorf("read registry logins: %w", err)
	}
	var config dockerConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return Auth{}, fmt.Errorf("read registry logins from %s: %w", path, err)
	}
	return config.find(host)
}

func (c dockerConfig) find(host string) (Auth, error) {
	for server, helper := range c.CredHelpers {
		if serverHost(server) == serverHost(host) {
			return askHelper(helper, server)
		}
	}
	for server, auth := range c.Auths {
		if serverHost(server) != serverHost(host) {
			continue
		}
		if auth.Empty() && c.CredsStore != "" {
			return askHelper(c.CredsStore, server)
		}
		return auth.normal()
	}
	return Auth{}, nil
}

// serverHost reduces the ways a registry is written to its host: docker's own is filed under its oldest address.
func serverHost(server string) string {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	host, _, _ := strings.Cut(server, "/")
	switch host {
	case "docker.io", "registry-1.docker.io", "index.docker.io":
		return "docker.io"
	}
	return host
}

// askHelper runs docker-credential-<name> get.
func askHelper(name, server string) (Auth, error) {
	cmd := exec.Command("docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(server)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "credentials not found") {
			return Auth{}, nil
		}
		return Auth{}, fmt.Errorf("ask credential helper %s: %w: %s", name, err, strings.TrimSpace(out.String()+errOut.String()))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return Auth{}, fmt.Errorf("ask credential helper %s: %w", name, err)
	}
	if answer.Username == "<token>" {
		return Auth{IdentityToken: answer.Secret}, nil
	}
	return Auth{Username: answer.Username, Password: answer.Secret}, nil
}
