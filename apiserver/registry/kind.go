// Package registry is the vocabulary of kinds: what a row of the table says (Kind, Subresource), what every stored object is (Object),
// the rows of one moment (Snapshot), and what the server serves as time goes by (Registry). Everything that serves the API stands on it. It
// is not the table itself, which is in package kinds, and has no kind of its own. Start with Kind, then Registry and Follower.
package registry

import (
	"context"
	"net/http"
	"net/url"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Object is what every stored kind is.
type Object interface {
	metav1.Object
	runtime.Object
}

// Storage says where the objects of a kind are.
type Storage int

// The places.
const (
	Stored  Storage = iota // in the store, and from there in the cache
	Virtual                // nowhere: a create is a question, and Answer answers it
	Proxied                // in another server, to which Proxy hands the whole request
)

// Kind is one row of the table: one served version of one resource. A row that is part of a Snapshot is not changed any more.
type Kind struct {
	GVK        schema.GroupVersionKind
	Resource   string   // lower-case plural, "pods"
	Singular   string   // "pod"
	ShortNames []string // "po"
	Categories []string // "all"
	Namespaced bool
	Verbs      []string // nil: all of get list watch create update patch delete deletecollection

	// Storage is where objects are; zero: in the store. Only stored kinds have the fields from StoragePrefix on that speak of storing,
	// updating and deleting.
	Storage Storage
	// Answer answers a create of a virtual kind, which is validated first. What it returns is the caller's.
	Answer func(ctx context.Context, from Asker, obj Object) (Object, error)
	// Proxy serves every request for a proxied kind that was authorised.
	Proxy http.Handler

	// Untyped marks a kind without a Go type: New makes an *unstructured.Unstructured, and JSON and YAML are its only forms.
	Untyped bool
	// Prune drops the fields that the kind does not know from what a client sent, in place, and returns their paths. Nil: decoding
	// finds them, or, if Untyped, every field is known.
	Prune func(Object) []string

	// Schema says what an untyped kind's objects look like, besides what all have, for the descriptions that clients read. Nil: it is not known. It is not
	// changed any more.
	Schema *spec.Schema
	// Types is the schema's view of an untyped kind's objects, for the record of fields. Nil: what they look like decides.
	Types func() (managedfields.TypeConverter, error)

	// New and NewList make empty objects of this version. If Untyped, their apiVersion and kind are set.
	New     func() Object
	NewList func() runtime.Object

	// StoragePrefix is the part of the key after /registry/, as upstream lays it out ("pods", "services/specs", "minions").
	StoragePrefix string
	// StorageVersion is the version objects are stored as; zero: GVK itself. Another served version of the same
	// resource has the same StoragePrefix and converts with ToStorage and FromStorage, which may fail and may be slow. FromStorage is
	// given all objects of an answer at once and returns as many, in their order. Neither changes what it is given.
	StorageVersion schema.GroupVersionKind
	ToStorage      func(ctx context.Context, obj Object) (Object, error)
	FromStorage    func(ctx context.Context, objs []Object) ([]Object, error)

	// CreateOnUpdate lets an update of what is not there create it.
	CreateOnUpdate bool
	// AnswerDeleted answers a delete that removed the object with the object, not with a status.
	AnswerDeleted bool

	// Default fills absent fields in place, as upstream's defaulting does. Idempotent.
	Default func(Object)
	// PrepareCreate and PrepareUpdate drop what a client may not set (status on create and on a main update, spec on a
	// status update) and maintain metadata.generation. They run after defaulting and mutating admission, and before validation.
	PrepareCreate func(obj Object)
	PrepareUpdate func(obj, old Object)
	// Requested writes into a new object who asks for it; nil: that is not part of the object. It runs right after PrepareCreate.
	Requested func(obj Object, user authenticationv1.UserInfo)
	// ValidateCreate and ValidateUpdate return every fault found, each with its field path. Object metadata is included.
	ValidateCreate func(obj Object) field.ErrorList
	ValidateUpdate func(obj, old Object) field.ErrorList
	// Warnings are sent in Warning headers; nil: none.
	Warnings func(obj, old Object) []string

	// Fields are what field selectors see, metadata.name and metadata.namespace included; nil: only those two. Only the version that is stored has it.
	Fields func(Object) fields.Set
	// SelectableFields are the field labels a selector may name besides metadata.name and metadata.namespace. What they select by is the object as
	// it is stored: StoredFields says what the storage version calls those that have another name there.
	SelectableFields []string
	StoredFields     map[string]string

	// Columns and Cells make the server-side table. Cells returns one row (or several, rarely) per object.
	Columns []metav1.TableColumnDefinition
	Cells   func(obj Object) []any

	// GracefulDelete, if set, decides deletion grace: it may change the object's deletionGracePeriodSeconds wish. It returns the
	// seconds to grant; 0 means remove at once. Only pods have it in this slice.
	GracefulDelete func(obj Object, requested *int64) int64

	// BeginDelete, if set, changes an object with the write that marks it deleted (a namespace turns Terminating).
	BeginDelete func(Object)
	// HoldsDelete, if set, is true while something besides metadata.finalizers keeps a deleted object (a namespace's
	// spec.finalizers).
	HoldsDelete func(Object) bool

	// Subresources by name: "status", "scale", "binding", "log", "exec", ...
	Subresources []Subresource
}

// Asker is who creates an object of a virtual kind, and who knows the answer.
type Asker struct {
	User  authenticationv1.UserInfo
	Judge Judge
}

// Judge is what virtual kinds may ask of the server that serves them. It may block for as long as ctx lasts.
type Judge interface {
	// Access says whether somebody may do something.
	Access(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus
	// Rules lists what somebody may do in a namespace, as far as it can be listed.
	Rules(ctx context.Context, user authenticationv1.UserInfo, namespace string) authorizationv1.SubjectRulesReviewStatus
	// Token says whose a bearer token is. No audiences: this server itself.
	Token(ctx context.Context, spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus
}

// Subresource is one row below a kind.
type Subresource struct {
	Name string // "status", "scale"
	// GVK of what is sent and received; zero: the parent's.
	GVK   schema.GroupVersionKind
	Verbs []string // "get", "update", "patch", "create"

	// Object-shaped subresources (status, scale, resize, ephemeralcontainers): From projects the parent, Into returns a changed deep copy of it.
	New  func() runtime.Object
	From func(parent Object) (runtime.Object, error)
	Into func(parent Object, sub runtime.Object) (Object, error)
	// PrepareUpdate and ValidateUpdate replace the parent's for a write through this subresource.
	PrepareUpdate  func(obj, old Object)
	ValidateUpdate func(obj, old Object) field.ErrorList

	// Action is what posting to the subresource does, where that is more than a change of the parent.
	Action Action
	// Stream is set for what is carried to the node, or to a pod, as it is. Such a request lasts for as long as both sides like.
	Stream Stream
	// Options makes the object by which admission sees a stream, from its query and the path after its name. Nil: the stream only reads (a log), and
	// admission is not asked.
	Options func(query url.Values, path string) runtime.Object
}

// Action names what posting to a subresource does.
type Action string

// The actions. The server has a function for each.
const (
	Evict      Action = "evict"
	IssueToken Action = "issue a token"
)

// Stream names what is carried between a client and a node, or what runs there.
type Stream string

// The streams. The server has a way to find the node for each.
const (
	Log          Stream = "log"
	Exec         Stream = "exec"
	Attach       Stream = "attach"
	PortForward  Stream = "portforward"
	NodeProxy    Stream = "node proxy"
	PodProxy     Stream = "pod proxy"
	ServiceProxy Stream = "service proxy"
)

// GVR names the resource of the row.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Resource)
}

// Subresource returns the subresource's row, or nil.
func (k *Kind) Subresource(name string) *Subresource {
	for i := range k.Subresources {
		if k.Subresources[i].Name == name {
			return &k.Subresources[i]
		}
	}
	return nil
}
