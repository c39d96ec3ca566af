package authn

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// The paths at which those to whom tokens are shown find the key that signs them (KEP-1393, OpenID Connect Discovery 1.0).
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// discoveryDocument is what OpenID Connect asks of a provider's metadata, as far as it concerns tokens that nobody has to log in for.
type discoveryDocument struct {
	Issuer        string   `json:"issuer"`
	KeysURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// webKey is a public key on P-256 (RFC 7517, RFC 7518 section 6.2).
type webKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv"`
	Algorithm string `json:"alg"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

// Discovery is the document at DiscoveryPath. The keys are said to be at the issuer's own address, which is where whoever can reach that looks.
func (a *Accounts) Discovery() ([]byte, error) {
	return json.Marshal(discoveryDocument{
		Issuer: a.issuer(), KeysURI: a.issuer() + KeysPath,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: []string{"ES256"},
	})
}

// Keys is the document at KeysPath: the public half of the key that signs.
func (a *Accounts) Keys() ([]byte, error) {
	key, err := webKeyOf(&a.Key.PublicKey)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string][]webKey{"keys": {key}})
}

func webKeyOf(key *ecdsa.PublicKey) (webKey, error) {
	public, err := key.ECDH()
	if err != nil {
		return webKey{}, fmt.Errorf("public key of service account tokens: %w", err)
	}
	point := public.Bytes() // SEC 1, uncompressed: 4, X, Y
	id := sha256.Sum256(point)
	encode := base64.RawURLEncoding.EncodeToString
	return webKey{Use: "sig", Type: "EC", ID: encode(id[:]), Curve: "P-256", Algorithm: "ES256",
		X: encode(point[1 : 1+halfSize]), Y: encode(point[1+halfSize:])}, nil
}
