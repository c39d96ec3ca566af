package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// negotiate chooses the form of the answer. list says whether a collection is asked for.
func negotiate(req *http.Request, kind *registry.Kind, list bool) (codec.Media, error) {
	media, ok := codec.Negotiate(req.Header.Get("Accept"), func(m codec.Media) bool {
		if kind.Storage == registry.Virtual && m.As != codec.AsObject {
			return false // an answer has no columns, and nothing but its content is worth having
		}
		switch m.As {
		case codec.AsObject:
			return !kind.Untyped || m.Format != codec.Protobuf
		case codec.AsTable:
			return m.Format != codec.Protobuf
		case codec.AsPartial:
			return !list
		case codec.AsPartials:
			return list
		}
		return true
	})
	if !ok {
		return media, notAcceptable("only the following media types are accepted: " + codec.Accepted(!kind.Untyped))
	}
	return media, nil
}

func notAcceptable(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: text,
	}}
}

func unsupportedMedia(accepted string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + accepted,
	}}
}

// WriteError answers with the Status of err, in the form the client accepts.
func WriteError(w http.ResponseWriter, req *http.Request, err error) {
	status := StatusOf(err)
	media, ok := codec.Negotiate(req.Header.Get("Accept"), func(m codec.Media) bool { return m.As == codec.AsObject })
	if !ok {
		media = codec.Media{}
	}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	writeBody(w, media.Format, int(status.Code), &status)
}

// writeBody answers with an object whose kind is set.
func writeBody(w http.ResponseWriter, format codec.Format, code int, obj runtime.Object) {
	body, err := codec.Encode(obj, format)
	if err != nil && format == codec.Protobuf {
		format = codec.JSON
		body, err = codec.Encode(obj, format)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeBytes(w, format, code, body)
}

func writeBytes(w http.ResponseWriter, format codec.Format, code int, body []byte) {
	header := w.Header()
	header.Set("Content-Type", format.MediaType())
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone away is nobody's fault
}

// tableOptions reads what a client wants of a table.
func tableOptions(query url.Values) (metav1.TableOptions, error) {
	var options metav1.TableOptions
	if err := metav1.Convert_url_Values_To_v1_TableOptions(&query, &options, nil); err != nil {
		return options, apierrors.NewBadRequest(err.Error())
	}
	if faults := metav1validation.ValidateTableOptions(&options); len(faults) > 0 {
		return options, apierrors.NewBadRequest("Unable to convert to Table as requested: " + faults.ToAggregate().Error())
	}
	return options, nil
}

// writeResult answers with one object in the negotiated form.
func (s *Service) writeResult(w http.ResponseWriter, req *http.Request, c *Call, code int, result *Result) {
	media, err := negotiate(req, c.Kind, false)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	r := s.row(c)
	switch media.As {
	case codec.AsTable:
		s.writeTable(w, req, r, media, code, result)
		return
	case codec.AsPartial:
		writeBody(w, media.Format, code, partial(result.Object, media.Version))
		return
	}
	switch {
	case media.Format == codec.Protobuf && result.stored != nil && codec.CanProto(result.Object):
		if body, ok := codec.Body(result.stored); ok {
			revised := codec.AppendRevised(make([]byte, 0, len(body)+32), body, result.Object.GetResourceVersion())
			writeBytes(w, media.Format, code, codec.Wrap(r.kind.GVK, revised))
			return
		}
	case media.Format == codec.JSON && result.entry != nil:
		if ready := result.entry.JSON(); ready != nil {
			writeBytes(w, media.Format, code, ready)
			return
		}
	}
	writeBody(w, media.Format, code, result.Object)
}

func (s *Service) writeTable(w http.ResponseWriter, req *http.Request, r *row, media codec.Media, code int, result *Result) {
	options, err := tableOptions(req.URL.Query())
	if err != nil {
		WriteError(w, req, err)
		return
	}
	t := newTable(r.kind, media.Version, !options.NoHeaders)
	t.ResourceVersion = result.Object.GetResourceVersion()
	row, err := tableRow(r.kind, result.Object, nil, options.IncludeObject, media.Version)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	t.Rows = append(t.Rows, row)
	writeBody(w, media.Format, code, t)
}

// writeList answers with a collection. Stored protobuf and ready JSON go out as they are, without being decoded or copied together.
func (s *Service) writeList(w http.ResponseWriter, req *http.Request, c *Call, media codec.Media, l *listing) {
	r := s.row(c)
	var obj runtime.Object
	var err error
	switch {
	case media.As == codec.AsTable:
		var options metav1.TableOptions
		if options, err = tableOptions(req.URL.Query()); err == nil {
			obj, err = s.tableOf(req.Context(), r, l, media, options)
		}
	case media.As == codec.AsPartials:
		obj, err = s.partialsOf(req.Context(), r, l, media)
	case media.Format == codec.Protobuf:
		err = s.streamProto(req.Context(), w, r, l)
	case media.Format == codec.JSON:
		err = s.streamJSON(req.Context(), w, r, l)
	default:
		obj, err = s.listObject(req.Context(), r, l)
	}
	switch {
	case err != nil:
		WriteError(w, req, err)
	case obj != nil:
		writeBody(w, media.Format, http.StatusOK, obj)
	}
}

// listObject builds the typed list, for the forms that are rare.
func (s *Service) listObject(ctx context.Context, r *row, l *listing) (runtime.Object, error) {
	list := r.kind.NewList()
	_, objs, err := r.views(ctx, l.entries)
	if err != nil {
		return nil, err
	}
	items := make([]runtime.Object, 0, len(objs))
	for _, obj := range objs {
		items = append(items, obj)
	}
	return fillList(r, list, items, l.meta)
}

// bufferSize holds the pieces of a list together until they are worth a write.
const bufferSize = 64 << 10

func (s *Service) streamProto(ctx context.Context, w http.ResponseWriter, r *row, l *listing) error {
	meta, err := l.meta.Marshal()
	if err != nil {
		return err
	}
	items, err := r.items(ctx, l)
	if err != nil {
		return err
	}
	head := codec.AppendBytes(nil, 1, meta)
	bodies := make([]protoBody, len(items))
	size := len(head)
	for i, item := range items {
		body, err := item.proto()
		if err != nil {
			return err
		}
		bodies[i] = body
		size += fieldSize(body.size())
	}
	header := w.Header()
	header.Set("Content-Type", codec.Protobuf.MediaType())
	header.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, bufferSize)
	_, _ = out.Write(codec.WrapHead(r.listKind(), size))
	_, _ = out.Write(head)
	var scratch []byte
	for i, item := range items {
		scratch = writeItem(out, scratch, bodies[i], item.entry.Revision())
	}
	_, _ = out.Write(codec.WrapTail())
	_ = out.Flush()
	return nil
}

// streamJSON writes the list around the ready documents of its items, without their kind, as the list says it for all.
func (s *Service) streamJSON(ctx context.Context, w http.ResponseWriter, r *row, l *listing) error {
	meta, err := json.Marshal(l.meta)
	if err != nil {
		return err
	}
	items, err := r.items(ctx, l)
	if err != nil {
		return err
	}
	gvk := r.listKind()
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	header := w.Header()
	header.Set("Content-Type", codec.JSON.MediaType())
	header.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, bufferSize)
	_, _ = io.WriteString(out, `{"kind":"`+kind+`","apiVersion":"`+apiVersion+`","metadata":`)
	_, _ = out.Write(meta)
	_, _ = io.WriteString(out, `,"items":[`)
	skip := `{"kind":"` + r.kind.GVK.Kind + `","apiVersion":"` + r.kind.GVK.GroupVersion().String() + `",`
	first := true
	for _, item := range items {
		doc := item.document()
		if doc == nil {
			continue // it cannot be decoded, which has been logged; the others are still of use
		}
		if !first {
			_ = out.WriteByte(',')
		}
		first = false
		if len(doc) > len(skip) && string(doc[:len(skip)]) == skip {
			_ = out.WriteByte('{')
			doc = doc[len(skip):]
		}
		_, _ = out.Write(doc)
	}
	_, _ = io.WriteString(out, "]}\n")
	_ = out.Flush()
	return nil
}
