package kindtest

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/codec"
)

func (s *suite) read() {
	made := s.make("read")
	s.unwritten(made)
	version := made.GetResourceVersion()
	for _, query := range []string{"?resourceVersion=0", "?resourceVersion=" + version} {
		s.want(200, "GET", s.path("read")+query, nil)
	}
	s.want(404, "GET", s.path("absent"), nil)
	list := s.want(200, "GET", s.collectionPath(), nil).object
	if list.GetKind() != s.kind.GVK.Kind+"List" {
		s.Errorf("list is a %s", list.GetKind())
	}
	found := s.items(list)["read"]
	if found == nil {
		s.Fatal("it is not in the list")
	}
	want := made.DeepCopy()
	for _, u := range []*unstructured.Unstructured{found, want} { // typed lists say them once for all
		delete(u.Object, "kind")
		delete(u.Object, "apiVersion")
	}
	if diff := cmp.Diff(want.Object, found.Object); diff != "" {
		s.Errorf("the list shows another object than the answer did (-answer +list):\n%s", diff)
	}
	s.make("read-too")
	page := s.want(200, "GET", s.collectionPath()+"?limit=1", nil).object
	token, _, _ := unstructured.NestedString(page.Object, "metadata", "continue")
	seen := s.items(page)
	for token != "" && len(seen) < 1000 {
		page = s.want(200, "GET", s.collectionPath()+"?limit=1&continue="+url.QueryEscape(token), nil).object
		maps.Copy(seen, s.items(page))
		token, _, _ = unstructured.NestedString(page.Object, "metadata", "continue")
	}
	if seen["read"] == nil || seen["read-too"] == nil {
		s.Errorf("pages show %v", slices.Sorted(maps.Keys(seen)))
	}
	then := s.items(s.want(200, "GET", s.collectionPath()+"?resourceVersionMatch=Exact&resourceVersion="+version, nil).object)
	if then["read"] == nil || then["read-too"] != nil {
		s.Errorf("the list at version %s exactly shows %v", version, slices.Sorted(maps.Keys(then)))
	}
}

func (s *suite) items(list *unstructured.Unstructured) map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{}
	items, _, _ := unstructured.NestedSlice(list.Object, "items")
	for _, item := range items {
		u := &unstructured.Unstructured{Object: item.(map[string]any)}
		out[u.GetName()] = u
	}
	return out
}

// forms are the encodings and views of one object and of the list; all say the same.
func (s *suite) forms() {
	made := s.make("forms")
	for _, path := range []string{s.path("forms"), s.collectionPath()} {
		table := s.want(200, "GET", path, nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").object
		columns, _, _ := unstructured.NestedSlice(table.Object, "columnDefinitions")
		rows, _, _ := unstructured.NestedSlice(table.Object, "rows")
		if len(columns) != len(s.kind.Columns) || len(rows) == 0 {
			s.Fatalf("%d columns and %d rows, want %d and some", len(columns), len(rows), len(s.kind.Columns))
		}
		for _, row := range rows {
			if cells := row.(map[string]any)["cells"].([]any); len(cells) != len(columns) {
				s.Errorf("%d cells for %d columns", len(cells), len(columns))
			}
		}
		yes := s.want(200, "GET", path, nil, "Accept", "application/yaml")
		if !strings.Contains(string(yes.raw), "name: forms") {
			s.Errorf("yaml %s", yes.raw)
		}
	}
	for include, has := range map[string]bool{"None": false, "Metadata": true, "Object": true} {
		table := s.want(200, "GET", s.path("forms")+"?includeObject="+include, nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").object
		rows, _, _ := unstructured.NestedSlice(table.Object, "rows")
		if object := rows[0].(map[string]any)["object"]; (object != nil) != has {
			s.Errorf("a table with includeObject %s has %v", include, object)
		}
	}
	s.want(400, "GET", s.path("forms")+"?includeObject=Some", nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	partial := s.want(200, "GET", s.path("forms"), nil, "Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").object
	if partial.GetUID() != made.GetUID() || partial.GetKind() != "PartialObjectMetadata" || partial.Object["spec"] != nil {
		s.Errorf("metadata alone: %v", partial.Object)
	}
	s.want(200, "GET", s.collectionPath(), nil, "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
	s.want(406, "GET", s.path("forms"), nil, "Accept", "text/html")
	s.protobuf(made)
}

func (s *suite) protobuf(made *unstructured.Unstructured) {
	const media = "application/vnd.kubernetes.protobuf"
	if !codec.CanProto(s.kind.New()) {
		s.want(406, "GET", s.path("forms"), nil, "Accept", media)
		return
	}
	a := s.want(200, "GET", s.path("forms"), nil, "Accept", media)
	obj := s.kind.New()
	if _, err := codec.Decode(a.raw, codec.Protobuf, s.kind.GVK, false, obj); err != nil {
		s.Fatal(err)
	}
	text, err := codec.Encode(obj, codec.JSON)
	if err != nil {
		s.Fatal(err)
	}
	again := &unstructured.Unstructured{}
	if err := again.UnmarshalJSON(text); err != nil {
		s.Fatal(err)
	}
	if fault := within(made.Object, again.Object); fault != "" {
		s.Errorf("as protobuf it differs%s", fault)
	}
	list := s.kind.NewList()
	a = s.want(200, "GET", s.collectionPath(), nil, "Accept", media)
	gvk := s.kind.GVK.GroupVersion().WithKind(s.kind.GVK.Kind + "List")
	if _, err := codec.Decode(a.raw, codec.Protobuf, gvk, false, list); err != nil {
		s.Errorf("list as protobuf: %v", err)
	}
	s.postProtobuf(media)
}

func (s *suite) postProtobuf(media string) {
	text, err := s.object("forms-proto").MarshalJSON()
	if err != nil {
		s.Fatal(err)
	}
	obj := s.kind.New()
	if _, err := codec.Decode(text, codec.JSON, s.kind.GVK, true, obj); err != nil {
		s.Fatal(err)
	}
	body, err := codec.Encode(obj, codec.Protobuf)
	if err != nil {
		s.Fatal(err)
	}
	s.want(201, "POST", s.collectionPath()+"?dryRun=All", string(body), "Content-Type", media)
}

func (s *suite) selects() {
	labelled := s.object("selected")
	labelled.SetLabels(merged(labelled.GetLabels(), "suite", "selects"))
	s.want(201, "POST", s.collectionPath(), labelled)
	s.make("unselected")
	for _, query := range []string{"labelSelector=suite%3Dselects", "fieldSelector=metadata.name%3Dselected", "labelSelector=suite&fieldSelector=metadata.name%21%3Dunselected"} {
		found := s.items(s.want(200, "GET", s.collectionPath()+"?"+query, nil).object)
		if found["selected"] == nil || found["unselected"] != nil {
			s.Errorf("%s finds %v", query, slices.Sorted(maps.Keys(found)))
		}
	}
	for _, name := range s.kind.SelectableFields {
		s.want(200, "GET", s.collectionPath()+"?fieldSelector="+url.QueryEscape(name+"=nothing-has-this"), nil)
	}
	s.want(400, "GET", s.collectionPath()+"?fieldSelector=no.such.field%3Dx", nil)
	s.want(400, "GET", s.collectionPath()+"?labelSelector=%3D%3D", nil)
	w := s.open("fieldSelector=metadata.name%3Dselected&resourceVersion=0")
	defer w.close()
	if e := w.next(s.T); e.Type != "ADDED" || e.Object.GetName() != "selected" {
		s.Errorf("the watch of one begins with %s of %s", e.Type, e.Object.GetName())
	}
}

// initialEvents: a watch that begins with what there is says when that was all.
func (s *suite) initialEvents() {
	s.make("initial")
	w := s.open("sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")
	defer w.close()
	seen := map[string]bool{}
	for {
		e := w.next(s.T)
		if e.Type == "BOOKMARK" {
			if e.Object.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" || e.Object.GroupVersionKind() != (schema.GroupVersionKind)(s.kind.GVK) {
				s.Errorf("the bookmark is %v", e.Object.Object)
			}
			break
		}
		if e.Type != "ADDED" {
			s.Errorf("%s among the initial events", e.Type)
		}
		seen[e.Object.GetName()] = true
	}
	if !seen["initial"] {
		s.Errorf("the initial events are of %v", slices.Sorted(maps.Keys(seen)))
	}
	after := s.make("after")
	if e := w.next(s.T); e.Type != "ADDED" || e.Object.GetResourceVersion() != after.GetResourceVersion() {
		s.Errorf("after the bookmark came %s of %s", e.Type, e.Object.GetName())
	}
}
