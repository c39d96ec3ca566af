// Package schema stands in the front program where compose-go has its JSON schema: the same names, without the machinery of JSON schemas, which
// takes a third of a command's time before it has begun. Documents go to whoever knows how to have them judged.
package schema

import _ "embed" // for the schema's text

// Schema is the Compose Specification's JSON schema.
//
//go:embed compose-spec.json
var Schema string

// Judge takes each document that would be held against the schema. The front program sets it before anything is loaded.
var Judge func(document map[string]any) error

// Validate hands the document over.
func Validate(document map[string]any) error { return Judge(document) }
