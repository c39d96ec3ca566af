package rest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// watchMin is the shortest that a watch without a timeout lasts; the longest is twice that, so that clients that came together
// do not come back together.
const watchMin = 30 * time.Minute

// watching is one client's watch.
type watching struct {
	s     *Service
	r     *row
	sel   *selection
	form  frameForm
	w     http.ResponseWriter
	flush func() error
	buf   []byte

	frames func(cache.Change) ([]byte, error) // encode
}

// frameForm is everything that the bytes of a frame depend on besides the change: watchers with equal forms share them.
type frameForm struct {
	kind    *registry.Kind
	media   codec.Media
	include metav1.IncludeObjectPolicy
	headers bool // of a table: true until the first frame is out
}

// Watch answers with changes until the client leaves, its time is up or the server stops.
func (s *Service) serveWatch(w http.ResponseWriter, req *http.Request, c *Call, sel *selection) {
	media, err := negotiateWatch(req)
	if err != nil {
		WriteError(w, req, err)
		return
	}
	watch := &watching{s: s, r: s.row(c), sel: sel, w: w, flush: http.NewResponseController(w).Flush,
		form: frameForm{kind: c.Kind, media: media}}
	if media.As == codec.AsTable {
		options, err := tableOptions(req.URL.Query())
		if err != nil {
			WriteError(w, req, err)
			return
		}
		watch.form.include, watch.form.headers = options.IncludeObject, !options.NoHeaders
	}
	ctx, cancel := context.WithTimeout(req.Context(), sel.lifetime())
	defer cancel()
	if sel.ResourceVersion != "" && sel.ResourceVersion != "0" {
		if _, err := parseVersion(watch.r, sel.ResourceVersion); err != nil {
			WriteError(w, req, err)
			return
		}
	}
	if err := s.reachWatch(ctx, watch.r, sel); err != nil {
		WriteError(w, req, err)
		return
	}
	watch.run(ctx)
}

func negotiateWatch(req *http.Request) (codec.Media, error) {
	media, ok := codec.Negotiate(req.Header.Get("Accept"), func(m codec.Media) bool {
		return m.Format != codec.YAML && m.As != codec.AsPartials && (m.As != codec.AsTable || m.Format == codec.JSON)
	})
	if !ok {
		return media, notAcceptable("only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
	}
	return media, nil
}

func (sel *selection) lifetime() time.Duration {
	if sel.TimeoutSeconds != nil && *sel.TimeoutSeconds > 0 {
		return time.Duration(*sel.TimeoutSeconds) * time.Second
	}
	return watchMin + rand.N(watchMin)
}

// reachWatch waits for the state that a watch begins with, if it begins with one.
func (s *Service) reachWatch(ctx context.Context, r *row, sel *selection) error {
	if !sel.initial() {
		return nil
	}
	return s.reach(ctx, r, sel.ResourceVersion)
}

// initial is true when the watch begins with everything that is there.
func (sel *selection) initial() bool {
	if sel.SendInitialEvents != nil {
		return *sel.SendInitialEvents
	}
	return sel.ResourceVersion == "" || sel.ResourceVersion == "0"
}

func (w *watching) run(ctx context.Context) {
	header := w.w.Header()
	header.Set("Cache-Control", "no-cache, private")
	if w.form.media.Format == codec.Protobuf {
		header.Set("Content-Type", codec.Protobuf.MediaType()+";stream=watch")
	} else {
		header.Set("Content-Type", codec.JSON.MediaType())
	}
	w.w.WriteHeader(http.StatusOK)
	_ = w.flush()
	// Frames are shared by watchers, so that none may fail because the one that made it went away.
	shared := context.WithoutCancel(ctx)
	w.frames = func(change cache.Change) ([]byte, error) { return w.encode(shared, change) }
	watcher, err := w.begin()
	if errors.Is(err, errkind.NotFound) {
		return // the kind went; clients find out when they come back
	}
	if err != nil {
		w.fail(err)
		return
	}
	defer watcher.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.s.Stopping != nil {
		go func() {
			select {
			case <-w.s.Stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	for {
		changes, err := watcher.Next(ctx)
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, errkind.Expired) {
				w.fail(apierrors.NewResourceExpired(err.Error()))
			}
			return
		}
		if w.send(changes) != nil {
			return
		}
	}
}

// begin sends the state the watch starts with, if any, and returns what follows it.
func (w *watching) begin() (*cache.Watcher, error) {
	options := cache.WatchOptions{Prefix: w.sel.prefix, Exact: w.sel.exact, Match: w.sel.matcher(), Bookmarks: w.sel.AllowWatchBookmarks}
	if w.r.kind == w.r.stored {
		options.Field, options.Value = w.sel.indexed(w.r.kind)
	}
	if !w.sel.initial() {
		if w.sel.ResourceVersion == "" || w.sel.ResourceVersion == "0" {
			options.Since = w.s.Cache.Revision()
		} else {
			options.Since, _ = strconv.ParseInt(w.sel.ResourceVersion, 10, 64) // checked before
		}
		watcher, err := w.r.table.Watch(options)
		if errors.Is(err, errkind.Expired) {
			return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", options.Since, w.s.Cache.Revision()))
		}
		return watcher, watchError(err)
	}
	snapshot, watcher, err := w.r.table.SnapshotAndWatch(options)
	if err != nil {
		return nil, watchError(err)
	}
	if err := w.sendState(snapshot); err != nil {
		watcher.Stop()
		return nil, err
	}
	return watcher, nil
}

// watchError is storeError but for a table that is no longer fed.
func watchError(err error) error {
	if errors.Is(err, errkind.NotFound) {
		return err
	}
	return storeError(err)
}

// sendState sends everything there is as added, and says when that was all.
func (w *watching) sendState(snapshot cache.Snapshot) error {
	var err error
	each := func(e cache.Entry) bool {
		if !w.sel.all() && !w.sel.match(e) {
			return true
		}
		err = w.add(cache.Change{Type: cache.Added, Revision: e.Revision(), Entry: e})
		if err == nil && len(w.buf) > bufferSize {
			err = w.push()
		}
		return err == nil
	}
	if w.sel.exact {
		if e, ok := snapshot.Get(w.sel.prefix); ok {
			each(e)
		}
	} else {
		snapshot.Ascend(w.sel.prefix, "", each)
	}
	if err != nil {
		return err
	}
	if w.sel.SendInitialEvents != nil && w.sel.AllowWatchBookmarks {
		mark, err := w.bookmark(snapshot.Revision(), true)
		if err != nil {
			return err
		}
		w.buf = append(w.buf, mark...)
	}
	return w.push()
}

// send writes the changes out at once: one write for all that has gathered.
func (w *watching) send(changes []cache.Change) error {
	for _, change := range changes {
		if err := w.add(change); err != nil {
			return err
		}
	}
	return w.push()
}

func (w *watching) push() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if cap(w.buf) > 16*bufferSize {
		w.buf = nil
	}
	if err != nil {
		return err
	}
	return w.flush()
}

func (w *watching) add(change cache.Change) error {
	frame, err := change.Frame(w.form, w.frames)
	if err != nil {
		return err
	}
	w.form.headers = false
	w.buf = append(w.buf, frame...)
	return nil
}

// encode makes the frame of a change. It must depend on the change and the form alone.
func (w *watching) encode(ctx context.Context, change cache.Change) ([]byte, error) {
	if change.Type == cache.Bookmark {
		return w.bookmark(change.Revision, false)
	}
	name := [...]string{cache.Added: "ADDED", cache.Modified: "MODIFIED", cache.Deleted: "DELETED"}[change.Type]
	media := w.form.media
	if media.As == codec.AsObject && w.r.kind == w.r.stored {
		if media.Format == codec.Protobuf && w.r.table.Resource().AppendProto != nil {
			return protoFrame(name, codec.Wrap(w.r.kind.GVK, change.Entry.Proto())), nil
		}
		if doc := change.Entry.JSON(); media.Format == codec.JSON && doc != nil {
			return jsonFrame(name, doc), nil
		}
	}
	obj, err := w.r.view(ctx, change.Entry)
	if err != nil {
		return nil, err
	}
	return w.frame(name, obj)
}

// frame shows obj in the watch's form.
func (w *watching) frame(name string, obj registry.Object) ([]byte, error) {
	media := w.form.media
	var shown runtime.Object = obj
	switch media.As {
	case codec.AsPartial:
		shown = partial(obj, media.Version)
	case codec.AsTable:
		t := newTable(w.r.kind, media.Version, w.form.headers)
		t.ResourceVersion = obj.GetResourceVersion()
		row, err := tableRow(w.r.kind, obj, nil, w.form.include, media.Version)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
		shown = t
	}
	body, err := codec.Encode(shown, media.Format)
	if err != nil {
		return nil, err
	}
	return frameOf(media.Format, name, body), nil
}

// bookmark is an empty object that says how far the client is.
func (w *watching) bookmark(revision int64, initialEnd bool) ([]byte, error) {
	obj := w.r.kind.New()
	codec.SetKind(obj, w.r.kind.GVK)
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	if initialEnd {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return w.frame("BOOKMARK", obj)
}

// fail ends the watch with an error that the client sees as its last event.
func (w *watching) fail(err error) {
	status := StatusOf(err)
	body, err := codec.Encode(&status, w.form.media.Format)
	if err != nil {
		return
	}
	w.buf = append(w.buf, frameOf(w.form.media.Format, "ERROR", body)...)
	_ = w.push() // the client may be gone already
}

func frameOf(format codec.Format, name string, body []byte) []byte {
	if format == codec.Protobuf {
		return protoFrame(name, body)
	}
	return jsonFrame(name, body)
}

func jsonFrame(name string, doc []byte) []byte {
	if n := len(doc); n > 0 && doc[n-1] == '\n' {
		doc = doc[:n-1]
	}
	out := make([]byte, 0, len(doc)+len(name)+32)
	out = append(out, `{"type":"`...)
	out = append(out, name...)
	out = append(out, `","object":`...)
	out = append(out, doc...)
	return append(out, "}\n"...)
}

// protoFrame is a length, then a WatchEvent: its type, and the object as a RawExtension.
func protoFrame(name string, body []byte) []byte {
	raw := fieldSize(len(body))
	size := fieldSize(len(name)) + fieldSize(raw)
	out := binary.BigEndian.AppendUint32(make([]byte, 0, size+4), uint32(size))
	out = codec.AppendBytes(out, 1, []byte(name))
	out = append(out, 2<<3|2)
	out = codec.AppendVarint(out, uint64(raw))
	return codec.AppendBytes(out, 1, body)
}
