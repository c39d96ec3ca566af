package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

const (
	// bodyLimit bounds what a client may send.
	bodyLimit = 3 << 20
	// drainLimit bounds what is read of a body that is refused.
	drainLimit = 16 << 20
	// requestTime bounds every request but watches and streams.
	requestTime = 60 * time.Second
	// managerLimit bounds a field manager's name.
	managerLimit = 128
)

// handler serves one verb.
type handler func(s *Service, w http.ResponseWriter, req *http.Request, c *Call)

// verbs is the table of HTTP verbs.
func verbs() map[string]handler {
	return map[string]handler{
		"get": (*Service).serveGet, "list": (*Service).serveList, "watch": (*Service).serveWatchOrList,
		"create": (*Service).serveCreate, "update": (*Service).serveUpdate, "patch": (*Service).servePatch,
		"delete": (*Service).serveDelete, "deletecollection": (*Service).serveDeleteCollection,
	}
}

// Serve answers a request that has been authorised. The call says what it is for; the rest is read from the request.
func (s *Service) Serve(w http.ResponseWriter, req *http.Request, c *Call) {
	c.Warn = func(text string) {
		if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil && !slices.Contains(w.Header()["Warning"], header) {
			w.Header().Add("Warning", header)
		}
	}
	if c.Sub != nil && c.Sub.Stream != "" {
		if s.Connect == nil {
			WriteError(w, req, apierrors.NewServiceUnavailable("this server has no way to its nodes"))
			return
		}
		if c.Sub.Options != nil {
			if err := s.admitBody(req.Context(), c, admission.Connect, c.Sub.Options(req.URL.Query(), c.Path)); err != nil {
				WriteError(w, req, err)
				return
			}
		}
		s.Connect(w, req, c)
		return
	}
	if err := s.begin(c); err != nil {
		WriteError(w, req, err)
		return
	}
	handle := s.verbs[c.Verb]
	if handle == nil || !allowed(c) {
		WriteError(w, req, apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, strings.ToLower(req.Method), schema.GroupResource{}, "", "", 0, false))
		return
	}
	if c.Verb != "watch" {
		ctx, cancel := context.WithTimeout(req.Context(), requestTime)
		defer cancel()
		req = req.WithContext(ctx)
	}
	c.Manager = manager(req.URL.Query().Get("fieldManager"), req.UserAgent())
	c.Strictness = metav1.FieldValidationWarn
	handle(s, w, req, c)
}

// allowed is true when the resource or subresource knows the verb.
func allowed(c *Call) bool {
	if c.Sub != nil {
		return slices.Contains(c.Sub.Verbs, c.Verb)
	}
	return c.Kind.Verbs == nil || slices.Contains(c.Kind.Verbs, c.Verb)
}

// manager is the name under which a write is recorded: the one given, or the program's.
func manager(given, agent string) string {
	if given != "" {
		return given
	}
	name, _, _ := strings.Cut(agent, "/")
	var out strings.Builder
	for _, r := range name {
		if out.Len()+len(string(r)) > managerLimit {
			break
		}
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func (s *Service) serveGet(w http.ResponseWriter, req *http.Request, c *Call) {
	if _, err := negotiate(req, c.Kind, false); err != nil {
		WriteError(w, req, err)
		return
	}
	result, err := s.Get(req.Context(), c, req.URL.Query().Get("resourceVersion"))
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.answer(w, req, c, http.StatusOK, result)
}

// answer shows the result as the call's resource or subresource has it.
func (s *Service) answer(w http.ResponseWriter, req *http.Request, c *Call, code int, result *Result) {
	if c.Sub == nil || c.Sub.From == nil {
		s.writeResult(w, req, c, code, result)
		return
	}
	shown, err := c.Sub.From(result.Object)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	codec.SetKind(shown, c.Sub.GVK)
	s.writeShown(w, req, code, shown)
}

// writeShown answers with an object that is not stored as it is shown: a Scale, a token, a status.
func (s *Service) writeShown(w http.ResponseWriter, req *http.Request, code int, obj runtime.Object) {
	media, ok := codec.Negotiate(req.Header.Get("Accept"), func(m codec.Media) bool { return m.As == codec.AsObject })
	if !ok {
		media = codec.Media{}
	}
	writeBody(w, media.Format, code, obj)
}

func (s *Service) serveList(w http.ResponseWriter, req *http.Request, c *Call) {
	media, err := negotiate(req, c.Kind, true)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	sel, err := selectObjects(c, req.URL.Query())
	if err != nil {
		WriteError(w, req, err)
		return
	}
	found, err := s.list(req.Context(), c, sel)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.writeList(w, req, c, media, found)
}

func (s *Service) serveWatchOrList(w http.ResponseWriter, req *http.Request, c *Call) {
	query := req.URL.Query()
	query.Set("watch", "true")
	sel, err := selectObjects(c, query)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.serveWatch(w, req, c, sel)
}

func (s *Service) serveCreate(w http.ResponseWriter, req *http.Request, c *Call) {
	var options metav1.CreateOptions
	query := req.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, &options, nil); err != nil {
		WriteError(w, req, apierrors.NewBadRequest(err.Error()))
		return
	}
	if err := c.options("CreateOptions", metav1validation.ValidateCreateOptions(&options), options.DryRun, options.FieldValidation); err != nil {
		WriteError(w, req, err)
		return
	}
	if c.Sub != nil {
		s.servePost(w, req, c)
		return
	}
	obj := c.Kind.New()
	if err := s.readBody(req, c, c.Kind.GVK, obj); err != nil {
		WriteError(w, req, err)
		return
	}
	result, err := s.Create(req.Context(), c, obj)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.writeResult(w, req, c, http.StatusCreated, result)
}

// servePost posts to a subresource.
func (s *Service) servePost(w http.ResponseWriter, req *http.Request, c *Call) {
	body := c.Sub.New()
	if err := s.readBody(req, c, c.Sub.GVK, body); err != nil {
		WriteError(w, req, err)
		return
	}
	answer, err := s.Post(req.Context(), c, body)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.writeShown(w, req, http.StatusCreated, answer)
}

func (s *Service) serveUpdate(w http.ResponseWriter, req *http.Request, c *Call) {
	var options metav1.UpdateOptions
	query := req.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_UpdateOptions(&query, &options, nil); err != nil {
		WriteError(w, req, apierrors.NewBadRequest(err.Error()))
		return
	}
	if err := c.options("UpdateOptions", metav1validation.ValidateUpdateOptions(&options), options.DryRun, options.FieldValidation); err != nil {
		WriteError(w, req, err)
		return
	}
	obj, gvk := c.body()
	if err := s.readBody(req, c, gvk, obj); err != nil {
		WriteError(w, req, err)
		return
	}
	result, err := s.Update(req.Context(), c, obj)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.answer(w, req, c, result.code(), result)
}

// body makes what a request to the call's path carries.
func (c *Call) body() (runtime.Object, schema.GroupVersionKind) {
	if c.Sub != nil && c.Sub.New != nil {
		return c.Sub.New(), c.Sub.GVK
	}
	return c.Kind.New(), c.Kind.GVK
}

func (s *Service) servePatch(w http.ResponseWriter, req *http.Request, c *Call) {
	media, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
	if known := patch.Types(c.Kind.Untyped); !slices.Contains(known, media) {
		WriteError(w, req, unsupportedMedia(strings.Join(known, ", ")))
		return
	}
	data, err := read(req)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	var options metav1.PatchOptions
	query := req.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_PatchOptions(&query, &options, nil); err != nil {
		WriteError(w, req, apierrors.NewBadRequest(err.Error()))
		return
	}
	faults := metav1validation.ValidatePatchOptions(&options, types.PatchType(media))
	if err := c.options("PatchOptions", faults, options.DryRun, options.FieldValidation); err != nil {
		WriteError(w, req, err)
		return
	}
	p := patch.Patch{Type: types.PatchType(media), Data: data, Strict: c.Strictness != metav1.FieldValidationIgnore}
	if c.Strictness == metav1.FieldValidationWarn {
		p.Warn = c.warnAll
	}
	result, err := s.Patch(req.Context(), c, p, options.Force != nil && *options.Force)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	s.answer(w, req, c, result.code(), result)
}

func (r *Result) code() int {
	if r.Created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// options takes over what the options of a write say.
func (c *Call) options(kind string, faults field.ErrorList, dryRun []string, strictness string) error {
	if len(faults) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", faults)
	}
	c.DryRun = len(dryRun) > 0
	if strictness != "" {
		c.Strictness = strictness
	}
	return nil
}

func (c *Call) warnAll(faults []error) {
	for _, fault := range faults {
		c.Warn(fault.Error())
	}
}

// read returns the whole body, or says that it is too large.
func read(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	if req.ContentLength > bodyLimit {
		return nil, tooLargeBody(req)
	}
	if req.ContentLength > 0 {
		body := make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, body); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, bodyLimit+1))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
	}
	if len(body) > bodyLimit {
		return nil, tooLargeBody(req)
	}
	return body, nil
}

// tooLargeBody reads on for a while: a client that is still sending when the connection is closed may lose the answer.
func tooLargeBody(req *http.Request) error {
	_, _ = io.CopyN(io.Discard, req.Body, drainLimit)
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
}

// readBody decodes the body into obj.
func (s *Service) readBody(req *http.Request, c *Call, gvk schema.GroupVersionKind, obj runtime.Object) error {
	format, ok := codec.ParseContentType(req.Header.Get("Content-Type"))
	if !ok || c.Kind.Untyped && format == codec.Protobuf && gvk == c.Kind.GVK {
		return unsupportedMedia(codec.Accepted(!c.Kind.Untyped))
	}
	body, err := read(req)
	if err != nil {
		return err
	}
	decoded, err := codec.Decode(body, format, gvk, c.Strictness != metav1.FieldValidationIgnore, obj)
	if err == nil && decoded.GVK.GroupVersion() != gvk.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			decoded.GVK.GroupVersion(), gvk.GroupVersion()))
	}
	if err == nil {
		decoded.Strict = append(decoded.Strict, c.prune(obj)...)
	}
	if err == nil && len(decoded.Strict) > 0 {
		if c.Strictness == metav1.FieldValidationWarn {
			c.warnAll(decoded.Strict)
			return nil
		}
		err = runtime.NewStrictDecodingError(decoded.Strict)
	}
	if err == nil {
		return nil
	}
	if decoded.GVK.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", decoded.GVK.Kind, decoded.GVK.Version, gvk.Kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", gvk.Kind, err, summary(body)))
}

// prune drops what the kind does not know, and returns the faults that are to be reported.
func (c *Call) prune(obj runtime.Object) []error {
	typed, ok := obj.(registry.Object)
	if !ok || c.Kind.Prune == nil || obj.GetObjectKind().GroupVersionKind() != c.Kind.GVK {
		return nil
	}
	var faults []error
	for _, path := range c.Kind.Prune(typed) {
		if c.Strictness != metav1.FieldValidationIgnore {
			faults = append(faults, fmt.Errorf("unknown field %q", path))
		}
	}
	return faults
}

// summaryLimit is how much of a body that makes no sense an error quotes.
const summaryLimit = 30

func summary(body []byte) string {
	switch {
	case len(body) == 0:
		return "<empty>"
	case len(body) > summaryLimit:
		return fmt.Sprintf("%02x ...", body[:summaryLimit])
	}
	return fmt.Sprintf("%02x", body)
}

// deleteOptions reads the options of a delete from the body or, without one, from the query.
func (s *Service) deleteOptions(req *http.Request, c *Call) (metav1.DeleteOptions, error) {
	var options metav1.DeleteOptions
	body, err := read(req)
	if err != nil {
		return options, err
	}
	query := req.URL.Query()
	if len(body) == 0 {
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&query, &options, nil); err != nil {
			return options, apierrors.NewBadRequest(err.Error())
		}
	} else if err := decodeDeleteOptions(req, body, &options); err != nil {
		return options, err
	}
	faults := metav1validation.ValidateDeleteOptions(&options)
	if err := c.options("DeleteOptions", faults, options.DryRun, ""); err != nil {
		return options, err
	}
	return options, nil
}

func decodeDeleteOptions(req *http.Request, body []byte, options *metav1.DeleteOptions) error {
	format, ok := codec.ParseContentType(req.Header.Get("Content-Type"))
	if !ok {
		return unsupportedMedia(codec.Accepted(true))
	}
	// Old clients send the options in the resource's own group and version.
	expected := schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}
	if _, err := codec.Decode(body, format, expected, false, options); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

func (s *Service) serveDelete(w http.ResponseWriter, req *http.Request, c *Call) {
	options, err := s.deleteOptions(req, c)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	outcome, err := s.Delete(req.Context(), c, options)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	code := http.StatusOK
	if orphans := wantsOrphans(options); !outcome.Gone && orphans != nil && !*orphans {
		code = http.StatusAccepted
	}
	if !outcome.Gone || c.Kind.AnswerDeleted {
		s.writeResult(w, req, c, code, outcome.Result)
		return
	}
	obj := outcome.Result.Object
	s.writeShown(w, req, code, success(0, &metav1.StatusDetails{
		Name: obj.GetName(), Group: c.Kind.GVK.Group, Kind: c.Kind.Resource, UID: obj.GetUID(),
	}))
}

func (s *Service) serveDeleteCollection(w http.ResponseWriter, req *http.Request, c *Call) {
	media, err := negotiate(req, c.Kind, true)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	sel, err := selectObjects(c, withoutWatch(req.URL.Query()))
	if err != nil {
		WriteError(w, req, err)
		return
	}
	options, err := s.deleteOptions(req, c)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	found, err := s.list(req.Context(), c, sel)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	if err := s.deleteAll(req.Context(), c, found.entries, options); err != nil {
		WriteError(w, req, err)
		return
	}
	s.writeList(w, req, c, media, found)
}

func withoutWatch(query url.Values) url.Values {
	query.Del("watch")
	return query
}
