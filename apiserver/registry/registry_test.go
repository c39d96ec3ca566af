package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// kind returns a row of group example.org that is whole; change may spoil it.
func kind(name string, change ...func(*registry.Kind)) *registry.Kind {
	lower := strings.ToLower(name)
	k := &registry.Kind{
		GVK: schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: name}, Resource: lower + "s", Singular: lower,
		StoragePrefix: "example.org/" + lower + "s",
		New:           func() registry.Object { return &corev1.ConfigMap{} },
		NewList:       func() runtime.Object { return &corev1.ConfigMapList{} },
	}
	for _, f := range change {
		f(k)
	}
	return k
}

func first(t *testing.T, rows ...*registry.Kind) *registry.Registry {
	t.Helper()
	s, err := registry.NewSnapshot(rows)
	if err != nil {
		t.Fatal(err)
	}
	return registry.New(s)
}

func add(rows ...*registry.Kind) func([]*registry.Kind) ([]*registry.Kind, error) {
	return func(have []*registry.Kind) ([]*registry.Kind, error) { return append(have, rows...), nil }
}

func names(s *registry.Snapshot) string {
	var out []string
	for _, k := range s.Kinds() {
		out = append(out, k.Resource)
	}
	return strings.Join(out, " ")
}

// TestRowsThatDoNotFit: what cannot be served together is refused, with words that name both sides.
func TestRowsThatDoNotFit(t *testing.T) {
	stored := func(version string) func(*registry.Kind) {
		return func(k *registry.Kind) { k.StorageVersion = k.GVK.GroupKind().WithVersion(version) }
	}
	version := func(v string) func(*registry.Kind) { return func(k *registry.Kind) { k.GVK.Version = v } }
	for name, c := range map[string]struct {
		row  *registry.Kind
		want string
		kind error
	}{
		"the same resource":   {kind("Cup"), "served by a row already", errkind.Exists},
		"the same kind":       {kind("Cup", func(k *registry.Kind) { k.Resource = "mugs"; k.Singular = "mug"; k.StoragePrefix = "m" }), `kind Cup is the kind of resource "cups" already`, errkind.Exists},
		"a kind's other name": {kind("Cup", version("v2"), func(k *registry.Kind) { k.Resource = "mugs"; k.Singular = "mug"; k.StoragePrefix = "m" }), `the kind "Cup" is already in use by resource "cups"`, errkind.Exists},
		"a taken short name":  {kind("Tea", func(k *registry.Kind) { k.ShortNames = []string{"cu"} }), `the name "cu" is already in use by resource "cups"`, errkind.Exists},
		"a plural as short":   {kind("Tea", func(k *registry.Kind) { k.ShortNames = []string{"cups"} }), `the name "cups" is already in use`, errkind.Exists},
		"a taken prefix":      {kind("Tea", func(k *registry.Kind) { k.StoragePrefix = "example.org/cups" }), `stored under "example.org/cups" already`, errkind.Exists},
		"a prefix within":     {kind("Tea", func(k *registry.Kind) { k.StoragePrefix = "example.org/cups/tea" }), "lies within that of", errkind.Exists},
		"no storage version":  {kind("Tea", stored("v9"), func(k *registry.Kind) { k.ToStorage, k.FromStorage = noConversion, noConversions }), "v9, Kind=Tea is not served", errkind.Invalid},
		"no conversion":       {kind("Cup", version("v2"), stored("v1")), "does not say how to convert", errkind.Invalid},
		"a field of its own": {kind("Cup", version("v2"), stored("v1"), func(k *registry.Kind) {
			k.ToStorage, k.FromStorage, k.SelectableFields = noConversion, noConversions, []string{"spec.handle"}
		}), "nothing can be selected by spec.handle", errkind.Invalid},
		"virtual, no answer":   {kind("Tea", func(k *registry.Kind) { k.Storage = registry.Virtual }), "needs an answer", errkind.Invalid},
		"proxied to nowhere":   {kind("Tea", func(k *registry.Kind) { k.Storage = registry.Proxied }), "has no proxy", errkind.Invalid},
		"stored nowhere":       {kind("Tea", func(k *registry.Kind) { k.StoragePrefix = "" }), "needs a list and a storage prefix", errkind.Invalid},
		"without a name":       {kind("Tea", func(k *registry.Kind) { k.Resource = "" }), "must be named", errkind.Invalid},
		"without a way to new": {kind("Tea", func(k *registry.Kind) { k.New = nil }), "no way to make an object", errkind.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := first(t, kind("Cup", func(k *registry.Kind) { k.ShortNames = []string{"cu"} }))
			before := r.Current()
			_, err := r.Update(t.Context(), add(c.row))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.kind) {
				t.Errorf("error %v, want %v with %q", err, c.kind, c.want)
			}
			if r.Current() != before {
				t.Error("a refused update changed what is served")
			}
		})
	}
}

func noConversion(_ context.Context, obj registry.Object) (registry.Object, error) { return obj, nil }

func noConversions(_ context.Context, objs []registry.Object) ([]registry.Object, error) {
	return objs, nil
}

// logging is a follower that writes down what it is told.
type logging struct {
	name   string
	log    *[]string
	refuse bool
	r      *registry.Registry
}

func (l logging) Prepare(_ context.Context, prev, next *registry.Snapshot) (registry.Prepared, error) {
	say := func(what string) {
		*l.log = append(*l.log, fmt.Sprintf("%s %s (%s)", l.name, what, names(l.r.Current())))
	}
	say("prepare " + names(prev) + " -> " + names(next))
	if l.refuse {
		return registry.Prepared{}, errkind.New(errkind.Unavailable, "%s will not", l.name)
	}
	return registry.Prepared{Settle: func() { say("settle") }, Abandon: func() { say("abandon") }}, nil
}

// TestFollowers: everybody is ready before the rows are visible, and lets go after; one that refuses stops it for all.
func TestFollowers(t *testing.T) {
	var log []string
	r := first(t, kind("Cup"))
	r.Follow(logging{"a", &log, false, r})
	r.Follow(logging{"b", &log, false, r})
	if _, err := r.Update(t.Context(), add(kind("Tea"))); err != nil {
		t.Fatal(err)
	}
	r.Follow(logging{"c", &log, true, r})
	if _, err := r.Update(t.Context(), add(kind("Pot"))); !errors.Is(err, errkind.Unavailable) {
		t.Errorf("error %v, want Unavailable", err)
	}
	want := []string{
		"a prepare cups -> cups teas (cups)", "b prepare cups -> cups teas (cups)", "a settle (cups teas)", "b settle (cups teas)",
		"a prepare cups teas -> cups teas pots (cups teas)", "b prepare cups teas -> cups teas pots (cups teas)",
		"c prepare cups teas -> cups teas pots (cups teas)", "b abandon (cups teas)", "a abandon (cups teas)",
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("what followers saw (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log = nil
	if _, err := r.Update(ctx, add(kind("Pot"))); !errors.Is(err, errkind.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of an update whose time is up", err)
	}
	if len(log) != 2 || !strings.HasPrefix(log[1], "a abandon") {
		t.Errorf("after the time is up: %q", log)
	}
}

// TestUpdatesFollowEachOther: each works on what the one before it left, numbers grow, and who waits sees the last.
func TestUpdatesFollowEachOther(t *testing.T) {
	r := first(t, kind("Cup"))
	seen, changed := r.Changed()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := r.Update(t.Context(), add(kind(fmt.Sprintf("Tea%d", i)))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-changed
	now, changed := r.Changed()
	if len(now.Kinds()) != 21 || now.Number() != seen.Number()+20 {
		t.Errorf("%d rows in snapshot %d, want 21 in %d", len(now.Kinds()), now.Number(), seen.Number()+20)
	}
	same, err := r.Update(t.Context(), func(rows []*registry.Kind) ([]*registry.Kind, error) { return rows, nil })
	if err != nil || same != now {
		t.Errorf("an update that changes nothing made snapshot %v, %v", same.Number(), err)
	}
	select {
	case <-changed:
		t.Error("an update that changes nothing was announced")
	default:
	}
	gone, err := r.Update(t.Context(), func(rows []*registry.Kind) ([]*registry.Kind, error) {
		return slices.DeleteFunc(rows, func(k *registry.Kind) bool { return k.Resource == "cups" }), nil
	})
	if err != nil || gone.ByKind(schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Cup"}) != nil {
		t.Errorf("the row is still there: %v", err)
	}
	if now.Kinds()[0].Resource != "cups" {
		t.Error("an older snapshot changed")
	}
}

func TestDerivations(t *testing.T) {
	made := 0
	count := registry.Derive(func(s *registry.Snapshot) (int, error) { made++; return len(s.Kinds()), nil })
	r := first(t, kind("Cup"))
	for range 3 {
		if n, err := count.Of(r.Current()); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	next, err := r.Update(t.Context(), add(kind("Tea")))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := count.Of(next); n != 2 || made != 2 {
		t.Errorf("%d, made %d times, want 2 and 2", n, made)
	}
}
