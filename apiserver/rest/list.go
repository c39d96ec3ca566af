package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// listing is what a list found.
type listing struct {
	entries []cache.Entry
	meta    metav1.ListMeta
}

// token is a continue token. Its form is upstream's: opaque to clients, but some look.
type token struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"` // -1: the present, whatever it is
	Start    string `json:"start"`
}

const tokenVersion = "meta.k8s.io/v1"

func (t token) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		return "" // three plain fields cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseToken(text string) (token, error) {
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err == nil && (t.Version != tokenVersion || t.Start == "" || t.Revision == 0) {
		err = errors.New("wrong version or missing fields")
	}
	if err != nil {
		return token{}, apierrors.NewBadRequest(fmt.Sprintf("continue key is not valid: %v", err))
	}
	return t, nil
}

// List finds the selected objects.
func (s *Service) list(ctx context.Context, c *Call, sel *selection) (*listing, error) {
	r := s.row(c)
	snapshot, from, err := s.listFrom(ctx, r, sel)
	if err != nil {
		return nil, err
	}
	out := &listing{}
	if sel.prefix == "" && sel.all() && sel.Limit == 0 {
		out.entries = make([]cache.Entry, 0, snapshot.Len())
	}
	if sel.exact {
		if entry, ok := snapshot.Get(sel.prefix); ok && sel.match(entry) {
			out.entries = append(out.entries, entry)
		}
	} else {
		out.page(snapshot, sel, from)
		if out.meta.Continue != "" {
			r.table.Pin(snapshot)
		}
	}
	out.meta.ResourceVersion = strconv.FormatInt(snapshot.Revision(), 10)
	return out, nil
}

// page collects one page and says what is left.
func (l *listing) page(snapshot cache.Snapshot, sel *selection, from string) {
	remaining := int64(0)
	next := ""
	snapshot.Ascend(sel.prefix, from, func(e cache.Entry) bool {
		if !sel.all() && !sel.match(e) {
			return true
		}
		if sel.Limit > 0 && int64(len(l.entries)) >= sel.Limit {
			if next == "" {
				next = e.Key()
			}
			remaining++
			// With selectors the count would cost a match for each object, and clients are told that it may be missing.
			return sel.all()
		}
		l.entries = append(l.entries, e)
		return true
	})
	if next == "" {
		return
	}
	l.meta.Continue = token{tokenVersion, snapshot.Revision(), next}.String()
	if sel.all() {
		l.meta.RemainingItemCount = &remaining
	}
}

// listFrom chooses the state to list from, and where in it to begin.
func (s *Service) listFrom(ctx context.Context, r *row, sel *selection) (cache.Snapshot, string, error) {
	if sel.Continue != "" {
		return s.continued(ctx, r, sel)
	}
	if sel.ResourceVersionMatch == metav1.ResourceVersionMatchExact {
		if err := s.reach(ctx, r, sel.ResourceVersion); err != nil {
			return nil, "", err
		}
		revision, err := parseVersion(r, sel.ResourceVersion)
		if err != nil {
			return nil, "", err
		}
		snapshot, err := r.table.SnapshotAt(ctx, revision)
		if errors.Is(err, errkind.Expired) {
			return nil, "", apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
		}
		return snapshot, "", storeError(err)
	}
	if err := s.reach(ctx, r, sel.ResourceVersion); err != nil {
		return nil, "", err
	}
	return r.table.Snapshot(), "", nil
}

func (s *Service) continued(ctx context.Context, r *row, sel *selection) (cache.Snapshot, string, error) {
	if sel.ResourceVersion != "" && sel.ResourceVersion != "0" {
		return nil, "", apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	t, err := parseToken(sel.Continue)
	if err != nil {
		return nil, "", err
	}
	if t.Revision < 0 {
		return r.table.Snapshot(), t.Start, storeError(s.Fresh(ctx))
	}
	snapshot, err := r.table.SnapshotAt(ctx, t.Revision)
	if errors.Is(err, errkind.Expired) {
		return nil, "", expiredToken(t)
	}
	return snapshot, t.Start, storeError(err)
}

// expiredToken offers the client to go on with the present, for when an inconsistent list is good enough.
func expiredToken(t token) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, " +
		"or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - " +
		"objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	err.ErrStatus.ListMeta.Continue = token{tokenVersion, -1, t.Start}.String()
	return err
}
