package image

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"hash"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// userAgent is how we introduce ourselves to registries.
const userAgent = "cuppa"

// resolver speaks to registries with a login (empty: the configured ones).
func (s *Store) resolver(auth Auth) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   s.RegistryHosts(auth),
		Headers: http.Header{"User-Agent": {userAgent}},
	})
}

// RegistryHosts tells how to reach the registry of a host: where, with which certificates, with which login.
//
// A registry on this machine's loopback may speak plain HTTP or show any certificate, as docker allows it: nobody else can be there. Unless a
// certificate authority is configured for it: then that is demanded.
func (s *Store) RegistryHosts(auth Auth) docker.RegistryHosts {
	return func(host string) ([]docker.RegistryHost, error) {
		tlsConfig, certificates, err := s.tlsFor(host)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "prepare TLS for registry %s: %w", host, err)
		}
		loopback, configured := docker.IsLocalhost(host), certificates.authority
		tlsConfig.InsecureSkipVerify = loopback && !configured
		var transport http.RoundTripper = s.connections.to(host, tlsConfig, certificates.digest)
		if loopback && !configured {
			transport = docker.NewHTTPFallback(transport)
		}
		client := &http.Client{Transport: transport}
		login, header, err := s.login(host, auth)
		if err != nil {
			return nil, err
		}
		address := host
		if host == "docker.io" {
			address = "registry-1.docker.io"
		}
		return []docker.RegistryHost{{
			Client: client, Host: address, Scheme: "https", Path: "/v2", Header: header,
			Authorizer:   docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(login), docker.WithAuthHeader(http.Header{"User-Agent": {userAgent}})),
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush,
		}}, nil
	}
}

// login chooses between the caller's login and the configured one, and turns it into what the authorizer takes.
func (s *Store) login(host string, auth Auth) (func(string) (string, string, error), http.Header, error) {
	if auth.Empty() {
		found, err := s.opts.Credentials(host)
		if err != nil {
			s.log.Warn("registry login could not be read", "registry", host, "err", err)
		}
		auth = found
	}
	auth, err := auth.normal()
	if err != nil {
		return nil, nil, errkind.New(errkind.Invalid, "%w", err)
	}
	var header http.Header
	if auth.RegistryToken != "" {
		header = http.Header{"Authorization": {"Bearer " + auth.RegistryToken}}
	}
	return func(string) (string, string, error) {
		if auth.IdentityToken != "" {
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}, header, nil
}

// certificates says which of them are configured for a host.
type certificates struct {
	authority bool
	digest    [sha256.Size]byte // of all files' contents
}

// tlsFor reads the certificates configured for a host.
func (s *Store) tlsFor(host string) (*tls.Config, certificates, error) {
	config, found, sum := &tls.Config{MinVersion: tls.VersionTLS12}, certificates{}, sha256.New()
	for _, dir := range s.opts.CertsDirs {
		dir = filepath.Join(dir, host)
		authorities, err := filepath.Glob(filepath.Join(dir, "*.crt"))
		if err != nil {
			return nil, found, err
		}
		for _, path := range authorities {
			pem, err := os.ReadFile(path)
			if err != nil {
				return nil, found, err
			}
			if config.RootCAs == nil {
				if config.RootCAs, err = x509.SystemCertPool(); err != nil {
					config.RootCAs = x509.NewCertPool()
				}
			}
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, found, errkind.New(errkind.Invalid, "%s holds no certificate", path)
			}
			sum.Write(pem)
			found.authority = true
		}
		if err := addPairs(config, dir, sum); err != nil {
			return nil, found, err
		}
	}
	found.digest = [sha256.Size]byte(sum.Sum(nil))
	return config, found, nil
}

// addPairs reads the client certificates of a folder, each with the key beside it.
func addPairs(config *tls.Config, dir string, sum hash.Hash) error {
	certs, err := filepath.Glob(filepath.Join(dir, "*.cert"))
	if err != nil {
		return err
	}
	for _, path := range certs {
		pair, err := tls.LoadX509KeyPair(path, path[:len(path)-len(".cert")]+".key")
		if err != nil {
			return err
		}
		for _, der := range pair.Certificate {
			sum.Write(der)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return nil
}

// Login checks a login at a registry, and returns nil if the registry takes it.
func (s *Store) Login(ctx context.Context, auth Auth) error {
	host := serverHost(auth.ServerAddress)
	if host == "" {
		host = "docker.io"
	}
	hosts, err := s.RegistryHosts(auth)(host)
	if err != nil {
		return err
	}
	h := hosts[0]
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.Scheme+"://"+h.Host+h.Path+"/", nil)
		if err != nil {
			return errkind.New(errkind.Invalid, "log in at %s: %w", host, err)
		}
		if err := h.Authorizer.Authorize(ctx, req); err != nil {
			return registryError(err, host, "log in at "+host)
		}
		resp, err := h.Client.Do(req)
		if err != nil {
			return registryError(err, host, "log in at "+host)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		if err := h.Authorizer.AddResponses(ctx, []*http.Response{resp}); err != nil {
			break
		}
	}
	return errkind.New(errkind.Denied, "Get %q: unauthorized: incorrect username or password", h.Scheme+"://"+h.Host+h.Path+"/")
}
