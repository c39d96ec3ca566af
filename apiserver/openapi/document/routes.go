package document

import (
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// route is one operation at one path. It implements common.Route, so that the same list makes both versions of the document.
type route struct {
	method, path, operation, description string
	action                               string // x-kubernetes-action
	gvk                                  schema.GroupVersionKind
	parameters                           []common.Parameter
	consumes, produces                   []string
	request                              any
	responses                            []common.StatusCodeResponse
	tag                                  string
}

func (r *route) Method() string                                   { return r.method }
func (r *route) Path() string                                     { return r.path }
func (r *route) OperationName() string                            { return r.operation }
func (r *route) Parameters() []common.Parameter                   { return r.parameters }
func (r *route) Description() string                              { return r.description }
func (r *route) Consumes() []string                               { return r.consumes }
func (r *route) Produces() []string                               { return r.produces }
func (r *route) RequestPayloadSample() any                        { return r.request }
func (r *route) ResponsePayloadSample() any                       { return nil }
func (r *route) StatusCodeResponses() []common.StatusCodeResponse { return r.responses }

func (r *route) Metadata() map[string]any {
	meta := map[string]any{}
	if r.action != "" {
		meta["x-kubernetes-action"] = r.action
	}
	if r.gvk.Kind != "" {
		meta["x-kubernetes-group-version-kind"] = map[string]any{"group": r.gvk.Group, "version": r.gvk.Version, "kind": r.gvk.Kind}
	}
	return meta
}

type response struct {
	code    int
	message string
	model   any
}

func (r response) Code() int       { return r.code }
func (r response) Message() string { return r.message }
func (r response) Model() any      { return r.model }

type parameter struct {
	name, description, dataType string
	required                    bool
	kind                        common.ParameterKind
}

func (p parameter) Name() string               { return p.name }
func (p parameter) Description() string        { return p.description }
func (p parameter) Required() bool             { return p.required }
func (p parameter) Kind() common.ParameterKind { return p.kind }
func (p parameter) DataType() string           { return p.dataType }
func (p parameter) AllowMultiple() bool        { return false }

func query(name, dataType, description string) common.Parameter {
	return parameter{name: name, dataType: dataType, description: description, kind: common.QueryParameterKind}
}

func inPath(name, description string) common.Parameter {
	return parameter{name: name, dataType: "string", description: description, required: true, kind: common.PathParameterKind}
}

func body(required bool) common.Parameter {
	return parameter{name: "body", dataType: "body", required: required, kind: common.BodyParameterKind}
}

// optionsOf are the query parameters that an options type of the API means, with the type's own words.
func optionsOf(options any, only ...string) []common.Parameter {
	docs := options.(interface{ SwaggerDoc() map[string]string }).SwaggerDoc()
	var out []common.Parameter
	t := reflect.TypeOf(options)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || (len(only) > 0 && !contains(only, name)) {
			continue
		}
		field := t.Field(i).Type
		for field.Kind() == reflect.Pointer || field.Kind() == reflect.Slice {
			field = field.Elem()
		}
		dataType := ""
		switch field.Kind() {
		case reflect.String:
			dataType = "string"
		case reflect.Bool:
			dataType = "boolean"
		case reflect.Int32, reflect.Int64:
			dataType = "integer"
		default:
			continue // a structure does not travel in the query
		}
		out = append(out, query(name, dataType, docs[name]))
	}
	return out
}

func contains(list []string, s string) bool {
	for _, each := range list {
		if each == s {
			return true
		}
	}
	return false
}

var (
	bodies     = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streams    = append(bodies[:3:3], "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	patchTypes = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	pretty     = query("pretty", "string", "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).")
)

// Root is the path of a group and version.
func Root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// paths makes the operations of one group and version.
type paths struct {
	gv     schema.GroupVersion
	tag    string // "apps_v1"
	middle string // "AppsV1"
	routes []common.Route
}

func newPaths(gv schema.GroupVersion) *paths {
	group := strings.TrimSuffix(gv.Group, ".k8s.io")
	if group == "" {
		group = "core"
	}
	return &paths{gv: gv, tag: camel(group, false) + "_" + gv.Version, middle: camel(group, true) + camel(gv.Version, true)}
}

func (p *paths) add(r route, verb, rest string) {
	r.operation = verb + p.middle + rest
	r.tag = p.tag
	r.parameters = append(r.parameters, pretty)
	if r.consumes == nil {
		r.consumes = bodies
	}
	if r.produces == nil {
		r.produces = bodies
	}
	p.routes = append(p.routes, &r)
}

// of returns every operation of the rows, which are all of one group and version.
func (p *paths) of(rows []*registry.Kind) []common.Route {
	p.discovery()
	for _, kind := range rows {
		p.collection(kind)
		p.object(kind)
		for i := range kind.Subresources {
			p.subresource(kind, &kind.Subresources[i])
		}
	}
	return p.routes
}

func (p *paths) discovery() {
	r := route{method: "GET", path: Root(p.gv) + "/", description: "get available resources", tag: p.tag,
		responses: []common.StatusCodeResponse{response{200, "OK", metav1.APIResourceList{}}}, consumes: bodies, produces: bodies}
	r.operation = "get" + p.middle + "APIResources"
	p.routes = append(p.routes, &r)
}

func scope(kind *registry.Kind) string {
	if kind.Namespaced {
		return "Namespaced"
	}
	return ""
}

// at is the path of a kind's collection and the parameters it has.
func at(kind *registry.Kind) (string, []common.Parameter) {
	base := Root(kind.GVK.GroupVersion())
	if !kind.Namespaced {
		return base + "/" + kind.Resource, nil
	}
	return base + "/namespaces/{namespace}/" + kind.Resource,
		[]common.Parameter{inPath("namespace", "object name and auth scope, such as for teams and projects")}
}

func serves(verbs []string, verb string) bool { return len(verbs) == 0 || contains(verbs, verb) }

func (p *paths) collection(kind *registry.Kind) {
	path, in := at(kind)
	name := scope(kind) + kind.GVK.Kind
	lists := optionsOf(metav1.ListOptions{})
	if serves(kind.Verbs, "list") {
		list := route{method: "GET", path: path, action: "list", gvk: kind.GVK, parameters: append(in[:len(in):len(in)], lists...), produces: streams,
			description: "list or watch objects of kind " + kind.GVK.Kind, responses: []common.StatusCodeResponse{response{200, "OK", listSample(kind)}}}
		p.add(list, "list", name)
		if kind.Namespaced {
			list.path, list.parameters = Root(kind.GVK.GroupVersion())+"/"+kind.Resource, lists
			p.add(list, "list", kind.GVK.Kind+"ForAllNamespaces")
		}
	}
	if serves(kind.Verbs, "create") {
		p.add(route{method: "POST", path: path, action: "post", gvk: kind.GVK, description: article("create ", kind.GVK.Kind), request: sample(kind),
			parameters: concat(in, optionsOf(metav1.CreateOptions{}), []common.Parameter{body(true)}), responses: written(sample(kind), 200, 201, 202)}, "create", name)
	}
	if serves(kind.Verbs, "deletecollection") {
		p.add(route{method: "DELETE", path: path, action: "deletecollection", gvk: kind.GVK, description: "delete collection of " + kind.GVK.Kind,
			parameters: concat(in, without(lists, "watch", "allowWatchBookmarks"), optionsOf(metav1.DeleteOptions{}), []common.Parameter{body(false)}),
			request:    metav1.DeleteOptions{}, responses: []common.StatusCodeResponse{response{200, "OK", metav1.Status{}}}}, "delete", "Collection"+name)
	}
}

func (p *paths) object(kind *registry.Kind) {
	path, in := at(kind)
	path += "/{name}"
	in = concat(in, []common.Parameter{inPath("name", "name of the "+kind.GVK.Kind)})
	name, obj := scope(kind)+kind.GVK.Kind, sample(kind)
	if serves(kind.Verbs, "get") {
		p.add(route{method: "GET", path: path, action: "get", gvk: kind.GVK, parameters: in, description: "read the specified " + kind.GVK.Kind,
			responses: []common.StatusCodeResponse{response{200, "OK", obj}}}, "read", name)
	}
	if serves(kind.Verbs, "update") {
		p.add(p.replace(path, kind.GVK, in, obj, ""), "replace", name)
	}
	if serves(kind.Verbs, "patch") {
		p.add(p.patch(path, kind.GVK, in, obj, ""), "patch", name)
	}
	if serves(kind.Verbs, "delete") {
		var answer any = metav1.Status{}
		if kind.GracefulDelete != nil {
			answer = obj // an object that takes time to end is shown as it is ending
		}
		p.add(route{method: "DELETE", path: path, action: "delete", gvk: kind.GVK, description: article("delete ", kind.GVK.Kind), request: metav1.DeleteOptions{},
			parameters: concat(in, optionsOf(metav1.DeleteOptions{}), []common.Parameter{body(false)}), responses: written(answer, 200, 202)}, "delete", name)
	}
}

func (p *paths) replace(path string, gvk schema.GroupVersionKind, in []common.Parameter, obj any, what string) route {
	return route{method: "PUT", path: path, action: "put", gvk: gvk, description: "replace " + what + "the specified " + gvk.Kind, request: obj,
		parameters: concat(in, optionsOf(metav1.UpdateOptions{}), []common.Parameter{body(true)}), responses: written(obj, 200, 201)}
}

func (p *paths) patch(path string, gvk schema.GroupVersionKind, in []common.Parameter, obj any, what string) route {
	return route{method: "PATCH", path: path, action: "patch", gvk: gvk, description: "partially update " + what + "the specified " + gvk.Kind, request: metav1.Patch{},
		consumes: patchTypes, parameters: concat(in, optionsOf(metav1.PatchOptions{}), []common.Parameter{body(true)}), responses: written(obj, 200, 201)}
}
