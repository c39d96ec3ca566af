package openapi

import (
	"sort"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Schema is what server-side apply needs to know of the types, in a form that is small and quick to read. (The library's own
// types embed each other in a way that no encoding of the standard library can express.)
type Schema struct {
	Types map[string]atom
	Kinds map[string][]schema.GroupVersionKind // the kinds that each named type is
}

// atom is one shape: a scalar, a list or a map. Types may be several, as int-or-string is.
type atom struct {
	Scalar  smd.Scalar              `json:"s,omitempty"`
	List    *element                `json:"l,omitempty"`
	Keys    []string                `json:"k,omitempty"` // of a list whose items are known by these fields
	ListRel smd.ElementRelationship `json:"lr,omitempty"`
	Map     *element                `json:"m,omitempty"` // of a map with any keys
	IsMap   bool                    `json:"im,omitempty"`
	MapRel  smd.ElementRelationship `json:"mr,omitempty"`
	Fields  []property              `json:"f,omitempty"`
}

// element is a reference to a shape, by name or in place.
type element struct {
	Name     string                   `json:"n,omitempty"`
	Inlined  *atom                    `json:"i,omitempty"`
	Relation *smd.ElementRelationship `json:"r,omitempty"`
	Nullable bool                     `json:"z,omitempty"`
}

type property struct {
	Name    string  `json:"n"`
	Type    element `json:"t"`
	Default any     `json:"d,omitempty"`
}

// NewSchema puts the library's types into that form.
func NewSchema(types []smd.TypeDef, kinds map[string][]schema.GroupVersionKind) Schema {
	s := Schema{Types: map[string]atom{}, Kinds: kinds}
	for _, def := range types {
		s.Types[def.Name] = packAtom(def.Atom)
	}
	return s
}

func packAtom(a smd.Atom) atom {
	var out atom
	if a.Scalar != nil {
		out.Scalar = *a.Scalar
	}
	if l := a.List; l != nil {
		e := packElement(l.ElementType)
		out.List, out.Keys, out.ListRel = &e, l.Keys, l.ElementRelationship
	}
	if m := a.Map; m != nil {
		out.IsMap, out.MapRel = true, m.ElementRelationship
		if e := packElement(m.ElementType); e != (element{}) {
			out.Map = &e
		}
		for _, f := range m.Fields {
			out.Fields = append(out.Fields, property{Name: f.Name, Type: packElement(f.Type), Default: f.Default})
		}
		sort.Slice(out.Fields, func(i, j int) bool { return out.Fields[i].Name < out.Fields[j].Name })
	}
	return out
}

func packElement(r smd.TypeRef) element {
	e := element{Relation: r.ElementRelationship, Nullable: r.Nullable}
	if r.NamedType != nil {
		e.Name = *r.NamedType
	} else if r.Inlined != (smd.Atom{}) {
		inlined := packAtom(r.Inlined)
		e.Inlined = &inlined
	}
	return e
}

// merge returns the types as the library wants them. Equal names share one string, as the library compares references by pointer.
func (s Schema) merge() []smd.TypeDef {
	u := unpacker{names: map[string]*string{}}
	types := make([]smd.TypeDef, 0, len(s.Types))
	for name, a := range s.Types {
		types = append(types, smd.TypeDef{Name: name, Atom: u.atom(&a)})
	}
	return types
}

type unpacker struct{ names map[string]*string }

func (u unpacker) atom(a *atom) smd.Atom {
	var out smd.Atom
	if a.Scalar != "" {
		out.Scalar = &a.Scalar
	}
	if a.List != nil {
		out.List = &smd.List{ElementType: u.element(a.List), Keys: a.Keys, ElementRelationship: a.ListRel}
	}
	if a.IsMap {
		out.Map = &smd.Map{ElementRelationship: a.MapRel}
		if a.Map != nil {
			out.Map.ElementType = u.element(a.Map)
		}
		for i := range a.Fields {
			f := &a.Fields[i]
			out.Map.Fields = append(out.Map.Fields, smd.StructField{Name: f.Name, Type: u.element(&f.Type), Default: f.Default})
		}
	}
	return out
}

func (u unpacker) element(e *element) smd.TypeRef {
	r := smd.TypeRef{ElementRelationship: e.Relation, Nullable: e.Nullable}
	switch {
	case e.Name != "":
		if u.names[e.Name] == nil {
			u.names[e.Name] = &e.Name
		}
		r.NamedType = u.names[e.Name]
	case e.Inlined != nil:
		r.Inlined = u.atom(e.Inlined)
	}
	return r
}
