package document

import (
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kube-openapi/pkg/common"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// connectOptions are the query parameters of the streams.
func connectOptions(name string) []common.Parameter {
	switch name {
	case "attach":
		return optionsOf(corev1.PodAttachOptions{})
	case "exec":
		return optionsOf(corev1.PodExecOptions{})
	case "log":
		return optionsOf(corev1.PodLogOptions{})
	case "proxy":
		return []common.Parameter{query("path", "string", "Path is the URL path to use for the current proxy request.")}
	case "portforward":
		return []common.Parameter{query("ports", "integer", "List of ports to forward Required when using WebSockets")}
	}
	return nil
}

func (p *paths) subresource(kind *registry.Kind, sub *registry.Subresource) {
	path, in := at(kind)
	path += "/{name}/" + sub.Name
	gvk, obj := kind.GVK, sample(kind)
	if sub.GVK.Kind != "" {
		gvk = sub.GVK
	}
	if sub.New != nil {
		obj = valueOf(sub.New())
	}
	in = concat(in, []common.Parameter{inPath("name", "name of the "+gvk.Kind)})
	name := scope(kind) + kind.GVK.Kind + camel(sub.Name, true)
	if sub.Stream != "" {
		p.connect(path, gvk.Kind, in, kind, sub, name)
		return
	}
	what := sub.Name + " of "
	if serves(sub.Verbs, "get") {
		p.add(route{method: "GET", path: path, action: "get", gvk: gvk, parameters: in, description: "read " + what + "the specified " + kind.GVK.Kind,
			responses: []common.StatusCodeResponse{response{200, "OK", obj}}}, "read", name)
	}
	if serves(sub.Verbs, "create") {
		p.add(route{method: "POST", path: path, action: "post", gvk: gvk, description: "create " + what + article("", kind.GVK.Kind), request: obj,
			parameters: concat(in, []common.Parameter{body(true)}, dryRun()), responses: written(obj, 200, 201, 202)}, "create", name)
	}
	if serves(sub.Verbs, "update") {
		p.add(p.replace(path, gvk, in, obj, what), "replace", name)
	}
	if serves(sub.Verbs, "patch") {
		p.add(p.patch(path, gvk, in, obj, what), "patch", name)
	}
}

// connect adds the operations of a stream. A log is read; the others are connections.
func (p *paths) connect(path, options string, in []common.Parameter, kind *registry.Kind, sub *registry.Subresource, name string) {
	answer := []common.StatusCodeResponse{response{200, "OK", ""}}
	gvk := kind.GVK
	if sub.Name == "log" {
		p.add(route{method: "GET", path: path, action: "get", gvk: gvk, parameters: concat(in, connectOptions(sub.Name)), responses: answer,
			description: "read log of the specified " + kind.GVK.Kind, produces: append([]string{"text/plain"}, bodies...)}, "read", name)
		return
	}
	if sub.GVK.Kind != "" {
		gvk = sub.GVK
	}
	add := func(path, name string, in []common.Parameter, method string) {
		r := route{method: method, path: path, action: "connect", gvk: gvk, parameters: concat(in, connectOptions(sub.Name)), responses: answer,
			description: "connect " + method + " requests to " + sub.Name + " of " + kind.GVK.Kind, produces: []string{"*/*"}, consumes: []string{"*/*"}}
		r.operation = "connect" + p.middle + camel(strings.ToLower(method), true) + name
		r.tag = p.tag
		p.routes = append(p.routes, &r)
	}
	for _, verb := range []struct{ verb, method string }{{"get", "GET"}, {"create", "POST"}, {"update", "PUT"}, {"patch", "PATCH"}, {"delete", "DELETE"}} {
		if !serves(sub.Verbs, verb.verb) {
			continue
		}
		add(path, name, in, verb.method)
		if sub.Name == "proxy" {
			add(path+"/{path}", name+"WithPath", concat(in, []common.Parameter{inPath("path", "path to the resource")}), verb.method)
		}
	}
}

func dryRun() []common.Parameter {
	return []common.Parameter{
		query("dryRun", "string", "When present, indicates that modifications should not be persisted."),
		query("fieldManager", "string", "fieldManager is a name associated with the actor or entity that is making these changes."),
		query("fieldValidation", "string", "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate fields."),
	}
}

// written are the answers to a write.
func written(obj any, codes ...int) []common.StatusCodeResponse {
	words := map[int]string{200: "OK", 201: "Created", 202: "Accepted"}
	var out []common.StatusCodeResponse
	for _, code := range codes {
		out = append(out, response{code, words[code], obj})
	}
	return out
}

func concat(lists ...[]common.Parameter) []common.Parameter {
	var out []common.Parameter
	seen := map[string]bool{}
	for _, list := range lists {
		for _, p := range list {
			if !seen[p.Name()] {
				seen[p.Name()] = true
				out = append(out, p)
			}
		}
	}
	return out
}

func without(list []common.Parameter, names ...string) []common.Parameter {
	var out []common.Parameter
	for _, p := range list {
		if !contains(names, p.Name()) {
			out = append(out, p)
		}
	}
	return out
}

func article(verb, noun string) string {
	if strings.ContainsRune("AEIOU", rune(noun[0])) {
		return verb + "an " + noun
	}
	return verb + "a " + noun
}

// camel joins the parts of a dotted name: "flowcontrol.apiserver" becomes flowcontrolApiserver.
func camel(name string, capital bool) string {
	var out strings.Builder
	up := capital
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			up = true
		case up:
			out.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
