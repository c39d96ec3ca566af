package rest

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// plainColumns serve the kinds that bring none.
var plainColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "Name must be unique within a namespace."},
	{Name: "Created At", Type: "date", Description: "When the object was created on the server."},
}

// newTable begins a table for the kind.
func newTable(kind *registry.Kind, version string, headers bool) *metav1.Table {
	t := &metav1.Table{Rows: []metav1.TableRow{}}
	codec.SetKind(t, schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: "Table"})
	if headers {
		t.ColumnDefinitions = kind.Columns
		if len(kind.Columns) == 0 {
			t.ColumnDefinitions = plainColumns
		}
	}
	return t
}

// tableRow shows one object. include says what of the object goes along: nothing, its metadata, or all of it.
func tableRow(kind *registry.Kind, obj registry.Object, ready []byte, include metav1.IncludeObjectPolicy, version string) (metav1.TableRow, error) {
	row := metav1.TableRow{}
	if kind.Cells != nil {
		row.Cells = kind.Cells(obj)
	} else {
		row.Cells = []any{obj.GetName(), obj.GetCreationTimestamp().UTC().Format("2006-01-02T15:04:05Z")}
	}
	var err error
	switch include {
	case metav1.IncludeNone:
	case metav1.IncludeObject:
		if ready == nil {
			ready, err = codec.Encode(obj, codec.JSON)
		}
		row.Object.Raw = ready
	default:
		row.Object.Raw, err = json.Marshal(partial(obj, version))
	}
	return row, err
}

// partial is the object's metadata alone.
func partial(obj registry.Object, version string) *metav1.PartialObjectMetadata {
	p := meta.AsPartialObjectMetadata(obj)
	codec.SetKind(p, schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: "PartialObjectMetadata"})
	return p
}

// tableOf shows a list.
func (s *Service) tableOf(ctx context.Context, r *row, l *listing, media codec.Media, options metav1.TableOptions) (runtime.Object, error) {
	t := newTable(r.kind, media.Version, !options.NoHeaders)
	t.ListMeta = l.meta
	t.Rows = make([]metav1.TableRow, 0, len(l.entries))
	entries, objs, err := r.views(ctx, l.entries)
	if err != nil {
		return nil, err
	}
	for i, obj := range objs {
		row, err := tableRow(r.kind, obj, r.ready(entries[i], options.IncludeObject), options.IncludeObject, media.Version)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// ready is the finished JSON of the entry, where that is what a table includes.
func (r *row) ready(e cache.Entry, include metav1.IncludeObjectPolicy) []byte {
	if include != metav1.IncludeObject || r.kind != r.stored {
		return nil
	}
	return e.JSON()
}

// partialsOf shows a list's metadata.
func (s *Service) partialsOf(ctx context.Context, r *row, l *listing, media codec.Media) (runtime.Object, error) {
	list := &metav1.PartialObjectMetadataList{ListMeta: l.meta, Items: make([]metav1.PartialObjectMetadata, 0, len(l.entries))}
	codec.SetKind(list, media.Kind())
	_, objs, err := r.views(ctx, l.entries)
	if err != nil {
		return nil, err
	}
	for _, obj := range objs {
		list.Items = append(list.Items, *partial(obj, media.Version))
	}
	return list, nil
}
