package codec

import (
	"mime"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// As is the shape an answer is asked for in.
type As int

// The shapes.
const (
	AsObject   As = iota // as it is
	AsTable              // rows and columns for people
	AsPartial            // metadata alone
	AsPartials           // a list of metadata alone
)

// Media is the negotiated form of an answer.
type Media struct {
	Format  Format
	As      As
	Version string // of the table or metadata: "v1" or "v1beta1"
	Stream  bool   // the client asked for watch frames
}

// Kind is the kind of the transformed answer; zero for AsObject.
func (m Media) Kind() schema.GroupVersionKind {
	names := [...]string{"", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"}
	if m.As == AsObject {
		return schema.GroupVersionKind{}
	}
	return schema.GroupVersionKind{Group: "meta.k8s.io", Version: m.Version, Kind: names[m.As]}
}

// Negotiate chooses the form of an answer from an Accept header. allow says which shapes the endpoint can give, and in which
// formats; ok is false when nothing the client accepts can be had.
func Negotiate(accept string, allow func(Media) bool) (Media, bool) {
	switch accept {
	case "", "*/*":
		return Media{}, true
	case "application/json", "application/json, */*":
		return Media{}, true
	case "application/vnd.kubernetes.protobuf":
		m := Media{Format: Protobuf}
		return m, allow(m)
	}
	var best Media
	found, bestQ := false, 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		media, q, ok := parseClause(clause)
		// Clauses of equal weight are tried in the client's order.
		if !ok || (found && q <= bestQ) || !allow(media) {
			continue
		}
		best, bestQ, found = media, q, true
	}
	return best, found
}

func parseClause(clause string) (Media, float64, bool) {
	name, params, err := mime.ParseMediaType(strings.TrimSpace(clause))
	if err != nil {
		return Media{}, 0, false
	}
	q := 1.0
	if s, ok := params["q"]; ok {
		if q, err = strconv.ParseFloat(s, 64); err != nil || q <= 0 {
			return Media{}, 0, false
		}
	}
	var media Media
	switch name {
	case "*/*", "application/*", mediaTypes[JSON]:
	case mediaTypes[YAML]:
		media.Format = YAML
	case mediaTypes[Protobuf]:
		media.Format = Protobuf
	default:
		return Media{}, 0, false
	}
	if stream, ok := params["stream"]; ok {
		if stream != "watch" {
			return Media{}, 0, false
		}
		media.Stream = true
	}
	return withShape(media, params, q)
}

func withShape(media Media, params map[string]string, q float64) (Media, float64, bool) {
	as, ok := params["as"]
	if !ok {
		// g and v without as name another API (aggregated discovery), which object endpoints do not speak.
		if params["g"] != "" && params["g"] != "meta.k8s.io" {
			return Media{}, 0, false
		}
		return media, q, true
	}
	switch as {
	case "Table":
		media.As = AsTable
	case "PartialObjectMetadata":
		media.As = AsPartial
	case "PartialObjectMetadataList":
		media.As = AsPartials
	default:
		return Media{}, 0, false
	}
	media.Version = params["v"]
	if params["g"] != "meta.k8s.io" || (media.Version != "v1" && media.Version != "v1beta1") {
		return Media{}, 0, false
	}
	return media, q, true
}

// Accepted names the media types for error messages; proto says whether protobuf is among them.
func Accepted(proto bool) string {
	if proto {
		return strings.Join(mediaTypes[:], ", ")
	}
	return strings.Join(mediaTypes[:Protobuf], ", ")
}
