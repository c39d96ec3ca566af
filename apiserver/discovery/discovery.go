// Package discovery says which resources the API server has, in the plain form of one document per group and version, and in
// the aggregated form of one document for all.
//
// Both follow from what the registry serves, and are made anew for each of its snapshots when they are first asked for. Start with New.
package discovery

import (
	"crypto/sha512"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Documents answers everything under /api and /apis that is not a resource.
type Documents struct {
	registry *registry.Registry
	sets     *registry.Derivation[*set]
}

// set is the documents of one snapshot.
type set struct {
	table   *registry.Snapshot
	address string                    // what the plain form names as this server's address
	plain   map[string]runtime.Object // by path, without a trailing slash
	merged  map[string]runtime.Object // "/api" and "/apis"
}

// New returns the documents of what is served. address is host:port of the server, as clients reach it.
func New(of *registry.Registry, address string) *Documents {
	return &Documents{registry: of, sets: registry.Derive(func(table *registry.Snapshot) (*set, error) {
		d := &set{table: table, address: address}
		d.build()
		return d, nil
	})}
}

// Serve answers the request if its path is a document's, and reports whether it was.
func (all *Documents) Serve(w http.ResponseWriter, req *http.Request) bool {
	d, err := all.sets.Of(all.registry.Current())
	if err != nil {
		return false // nothing that it is made of can fail
	}
	path := strings.TrimSuffix(req.URL.Path, "/")
	obj := d.plain[path]
	if obj == nil {
		return false
	}
	w.Header().Add("Vary", "Accept")
	if merged := d.merged[path]; merged != nil {
		if format, ok := wantsMerged(req.Header.Get("Accept")); ok {
			write(w, req, merged, format, format.MediaType()+";g=apidiscoveryv2.k8s.io;v=v2;as=APIGroupDiscoveryList")
			return true
		}
	}
	media, ok := codec.Negotiate(req.Header.Get("Accept"), func(m codec.Media) bool { return m.As == codec.AsObject })
	if !ok {
		media = codec.Media{}
	}
	write(w, req, obj, media.Format, media.Format.MediaType())
	return true
}

// wantsMerged is true when the aggregated form is among what the client accepts: every client that names it prefers it.
func wantsMerged(accept string) (codec.Format, bool) {
	for clause := range strings.SplitSeq(accept, ",") {
		clause = strings.ReplaceAll(clause, " ", "")
		if !strings.Contains(clause, "as=APIGroupDiscoveryList") || !strings.Contains(clause, "g=apidiscoveryv2.k8s.io") || !strings.Contains(clause+";", "v=v2;") {
			continue
		}
		if strings.HasPrefix(clause, codec.Protobuf.MediaType()) {
			return codec.Protobuf, true
		}
		return codec.JSON, true
	}
	return 0, false
}

func write(w http.ResponseWriter, req *http.Request, obj runtime.Object, format codec.Format, contentType string) {
	body, err := codec.Encode(obj, format)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	tag := fmt.Sprintf(`"%X"`, sha512.Sum512(body))
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("ETag", tag)
	header.Set("Cache-Control", "public")
	if req.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body) // a client that has gone away is nobody's fault
}

func (d *set) build() {
	d.plain = map[string]runtime.Object{}
	core := &metav1.APIVersions{
		Versions:                   []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: d.address}},
	}
	codec.SetKind(core, schema.GroupVersionKind{Kind: "APIVersions", Version: "v1"})
	d.plain["/api"] = core
	groups := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	codec.SetKind(groups, schema.GroupVersionKind{Kind: "APIGroupList", Version: "v1"})
	for _, group := range d.groups() {
		groups.Groups = append(groups.Groups, group)
		one := group
		codec.SetKind(&one, schema.GroupVersionKind{Kind: "APIGroup", Version: "v1"})
		d.plain["/apis/"+group.Name] = &one
	}
	d.plain["/apis"] = groups
	for _, gv := range d.table.GroupVersions() {
		d.plain[root(gv)] = d.resources(gv)
	}
	d.merged = map[string]runtime.Object{"/api": d.aggregate(true), "/apis": d.aggregate(false)}
}

func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}

// groups lists the named groups, each with its versions, the first of which is preferred.
func (d *set) groups() []metav1.APIGroup {
	var out []metav1.APIGroup
	for _, gv := range d.table.GroupVersions() {
		if gv.Group == "" {
			continue
		}
		version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		i := slices.IndexFunc(out, func(g metav1.APIGroup) bool { return g.Name == gv.Group })
		if i < 0 {
			out = append(out, metav1.APIGroup{Name: gv.Group, PreferredVersion: version})
			i = len(out) - 1
		}
		out[i].Versions = append(out[i].Versions, version)
	}
	return out
}

func allVerbs() []string {
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

func verbsOf(verbs []string) metav1.Verbs {
	if verbs == nil {
		return allVerbs()
	}
	sorted := slices.Clone(verbs)
	slices.Sort(sorted)
	return sorted
}

// resources is the plain document of one group and version.
func (d *set) resources(gv schema.GroupVersion) *metav1.APIResourceList {
	list := &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: []metav1.APIResource{}}
	codec.SetKind(list, schema.GroupVersionKind{Kind: "APIResourceList", Version: "v1"})
	for _, kind := range d.table.In(gv) {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: kind.Resource, SingularName: kind.Singular, Namespaced: kind.Namespaced, Kind: kind.GVK.Kind,
			Verbs: verbsOf(kind.Verbs), ShortNames: kind.ShortNames, Categories: kind.Categories,
		})
		for i := range kind.Subresources {
			list.APIResources = append(list.APIResources, subresource(kind, &kind.Subresources[i]))
		}
	}
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func subresource(kind *registry.Kind, sub *registry.Subresource) metav1.APIResource {
	gvk := kindOf(kind, sub)
	out := metav1.APIResource{
		Name: kind.Resource + "/" + sub.Name, Namespaced: kind.Namespaced, Kind: gvk.Kind, Verbs: verbsOf(sub.Verbs),
	}
	if gvk.GroupVersion() != kind.GVK.GroupVersion() {
		out.Group, out.Version = gvk.Group, gvk.Version
	}
	return out
}

func kindOf(kind *registry.Kind, sub *registry.Subresource) schema.GroupVersionKind {
	if sub.GVK.Empty() {
		return kind.GVK
	}
	return sub.GVK
}

// aggregate is the document for all of /api or all of /apis.
func (d *set) aggregate(core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{}}
	codec.SetKind(list, apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"))
	for _, gv := range d.table.GroupVersions() {
		if (gv.Group == "") != core {
			continue
		}
		i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}})
			i = len(list.Items) - 1
		}
		version := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, kind := range d.table.In(gv) {
			version.Resources = append(version.Resources, describe(kind))
		}
		slices.SortFunc(version.Resources, func(a, b apidiscoveryv2.APIResourceDiscovery) int { return strings.Compare(a.Resource, b.Resource) })
		list.Items[i].Versions = append(list.Items[i].Versions, version)
	}
	return list
}

func describe(kind *registry.Kind) apidiscoveryv2.APIResourceDiscovery {
	out := apidiscoveryv2.APIResourceDiscovery{
		Resource: kind.Resource, SingularResource: kind.Singular, Scope: apidiscoveryv2.ScopeCluster,
		ResponseKind: response(kind.GVK), Verbs: verbsOf(kind.Verbs), ShortNames: kind.ShortNames, Categories: kind.Categories,
	}
	if kind.Namespaced {
		out.Scope = apidiscoveryv2.ScopeNamespace
	}
	for i := range kind.Subresources {
		sub := &kind.Subresources[i]
		out.Subresources = append(out.Subresources, apidiscoveryv2.APISubresourceDiscovery{
			Subresource: sub.Name, ResponseKind: response(kindOf(kind, sub)), Verbs: verbsOf(sub.Verbs),
		})
	}
	return out
}

func response(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}
