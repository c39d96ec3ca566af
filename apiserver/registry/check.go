package registry

import (
	"errors"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// index fills the look-ups; no two rows serve one resource or one kind.
func (s *Snapshot) index() error {
	var errs []error
	for _, kind := range s.rows {
		if s.byResource[kind.GVR()] != nil {
			errs = append(errs, errkind.New(errkind.Exists, "resource %s is served by a row already", kind.GVR()))
			continue
		}
		if other := s.byKind[kind.GVK]; other != nil {
			errs = append(errs, errkind.New(errkind.Exists, "resource %s: kind %s is the kind of resource %q already", kind.GVR(), kind.GVK.Kind, other.Resource))
			continue
		}
		s.byResource[kind.GVR()], s.byKind[kind.GVK] = kind, kind
	}
	return join(errs)
}

// check finds the rows that are not whole in themselves or do not go together.
func (s *Snapshot) check() error {
	var errs []error
	for _, kind := range s.rows {
		if fault := kind.fault(); fault != "" {
			errs = append(errs, errkind.New(errkind.Invalid, "resource %s: %s", kind.GVR(), fault))
		}
	}
	errs = append(errs, s.checkNames()...)
	errs = append(errs, s.checkPrefixes()...)
	return join(errs)
}

// join keeps a single error as it is, with its kind; several have the kind of the first.
func join(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return errkind.New(errkind.Of(errs[0]), "%w", errors.Join(errs...))
}

// fault says what is wrong with a row in itself; "" if nothing is.
func (k *Kind) fault() string {
	switch {
	case k.Resource == "" || k.GVK.Kind == "" || k.GVK.Version == "":
		return "resource, version and kind must be named"
	case k.Storage == Proxied && k.Proxy == nil:
		return "it is proxied and has no proxy"
	case k.Storage == Proxied:
		return ""
	case k.New == nil:
		return "it has no way to make an object"
	case k.Storage == Virtual && (k.Answer == nil || !slices.Equal(k.Verbs, []string{"create"})):
		return "it is virtual, which needs an answer, and create as the only verb"
	case k.Storage == Virtual:
		return ""
	case k.NewList == nil || k.StoragePrefix == "":
		return "it is stored, which needs a list and a storage prefix"
	case !k.StorageVersion.Empty() && k.StorageVersion != k.GVK && (k.ToStorage == nil || k.FromStorage == nil):
		return "it is stored as another version and does not say how to convert"
	}
	return ""
}

// checkNames holds that in one group every plural, singular and short name means one resource, and every kind has one: clients find
// resources by any of them. Versions of one resource share their names.
func (s *Snapshot) checkNames() []error {
	type name struct{ group, text string }
	var errs []error
	resources, kindsOf := map[name]*Kind{}, map[name]*Kind{}
	for _, kind := range s.rows {
		group := kind.GVK.Group
		for _, text := range append([]string{kind.Resource, kind.Singular}, kind.ShortNames...) {
			if text == "" {
				continue
			}
			if other := resources[name{group, text}]; other != nil && other.Resource != kind.Resource {
				errs = append(errs, errkind.New(errkind.Exists, "resource %s: the name %q is already in use by resource %q of the group", kind.GVR(), text, other.Resource))
				continue
			}
			resources[name{group, text}] = kind
		}
		if other := kindsOf[name{group, kind.GVK.Kind}]; other != nil && other.Resource != kind.Resource {
			errs = append(errs, errkind.New(errkind.Exists, "resource %s: the kind %q is already in use by resource %q of the group", kind.GVR(), kind.GVK.Kind, other.Resource))
			continue
		}
		kindsOf[name{group, kind.GVK.Kind}] = kind
	}
	return errs
}

// checkPrefixes holds that objects which are not versions of each other lie apart.
func (s *Snapshot) checkPrefixes() []error {
	var errs []error
	owners := map[string]*Kind{} // by prefix: the row objects are stored as
	for _, kind := range s.rows {
		if kind.Storage != Stored || kind.StoragePrefix == "" {
			continue
		}
		stored := s.StoredAs(kind)
		switch {
		case stored == nil:
			errs = append(errs, errkind.New(errkind.Invalid, "resource %s: its storage version %s is not served", kind.GVR(), kind.StorageVersion))
			continue
		case stored.StoragePrefix != kind.StoragePrefix || s.StoredAs(stored) != stored:
			errs = append(errs, errkind.New(errkind.Invalid, "resource %s: what it is stored as, %s, is stored elsewhere", kind.GVR(), stored.GVR()))
			continue
		}
		if owner := owners[kind.StoragePrefix]; owner != nil && owner != stored {
			errs = append(errs, errkind.New(errkind.Exists, "resource %s: objects of %s are stored under %q already", kind.GVR(), owner.GVR(), kind.StoragePrefix))
			continue
		}
		owners[kind.StoragePrefix] = stored
		for _, name := range kind.SelectableFields {
			if kind != stored && !slices.Contains(stored.SelectableFields, kind.StoredField(name)) {
				errs = append(errs, errkind.New(errkind.Invalid, "resource %s: nothing can be selected by %s, since %s, which is what is stored, has no selectable field %s",
					kind.GVR(), name, stored.GVR(), kind.StoredField(name)))
			}
		}
	}
	for prefix, owner := range owners {
		for cut := strings.LastIndexByte(prefix, '/'); cut > 0; cut = strings.LastIndexByte(prefix[:cut], '/') {
			if outer := owners[prefix[:cut]]; outer != nil {
				errs = append(errs, errkind.New(errkind.Exists, "resource %s: its storage prefix %q lies within that of %s", owner.GVR(), prefix, outer.GVR()))
			}
		}
	}
	return errs
}
