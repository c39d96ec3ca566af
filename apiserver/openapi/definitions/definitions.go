// Package definitions holds the OpenAPI definitions of the Kubernetes types, as openapi-gen makes them from the types' source.
//
// Only the generator in ../gen imports it: the server embeds what that makes of it. It is not written by hand; `go generate`
// in the parent folder renews it.
package definitions
