package rest

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// selection is which objects of a resource a list, watch or deletecollection is about.
type selection struct {
	metav1.ListOptions
	labels labels.Selector
	fields fields.Selector
	prefix string // of the cache's keys
	exact  bool   // prefix is one whole key
}

// selectObjects reads and checks the parameters of a list-like request.
func selectObjects(c *Call, query url.Values) (*selection, error) {
	sel := &selection{labels: labels.Everything(), fields: fields.Everything()}
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&query, &sel.ListOptions, nil); err != nil {
		return nil, apierrors.NewBadRequest(parameterFault(query, err))
	}
	var err error
	if sel.LabelSelector != "" {
		if sel.labels, err = labels.Parse(sel.LabelSelector); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if sel.FieldSelector != "" {
		if sel.fields, err = fields.ParseSelector(sel.FieldSelector); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	for _, requirement := range sel.fields.Requirements() {
		if err := knownField(c.Kind, requirement.Field); err != nil {
			return nil, err
		}
	}
	if sel.fields, err = sel.fields.Transform(func(name, value string) (string, string, error) { return c.Kind.StoredField(name), value, nil }); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := sel.validate(); err != nil {
		return nil, err
	}
	sel.narrow(c)
	return sel, nil
}

// parameterFault names the parameter whose value an error quotes: the conversion itself says only which value it could not read.
func parameterFault(query url.Values, err error) string {
	for name, values := range query {
		for _, v := range values {
			if v != "" && strings.Contains(err.Error(), strconv.Quote(v)) {
				return fmt.Sprintf("parameter %s: %v", name, err)
			}
		}
	}
	return err.Error()
}

func (sel *selection) validate() error {
	options := &internalversion.ListOptions{
		Watch: sel.Watch, ResourceVersion: sel.ResourceVersion, ResourceVersionMatch: sel.ResourceVersionMatch,
		Continue: sel.Continue, Limit: sel.Limit, SendInitialEvents: sel.SendInitialEvents,
	}
	if faults := internalvalidation.ValidateListOptions(options, true); len(faults) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", faults)
	}
	return nil
}

func knownField(kind *registry.Kind, name string) error {
	if name == "metadata.name" || name == "metadata.namespace" || slices.Contains(kind.SelectableFields, name) {
		return nil
	}
	if kind.SelectableFields != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", name))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only %q, %q", name, "metadata.name", "metadata.namespace"))
}

// narrow turns what names and namespaces say into a range of keys, so that a watch on one object looks at that one alone.
func (sel *selection) narrow(c *Call) {
	name, one := sel.fields.RequiresExactMatch("metadata.name")
	if c.Name != "" {
		name, one = c.Name, true
	}
	namespace := c.Namespace
	if c.Kind.Namespaced && namespace == "" {
		namespace, _ = sel.fields.RequiresExactMatch("metadata.namespace")
	}
	switch {
	case !c.Kind.Namespaced && one:
		sel.prefix, sel.exact = name, true
	case !c.Kind.Namespaced || namespace == "":
	case one:
		sel.prefix, sel.exact = namespace+"/"+name, true
	default:
		sel.prefix = namespace + "/"
	}
}

// all is true when the selectors let everything in the range of keys through.
func (sel *selection) all() bool { return sel.labels.Empty() && sel.fields.Empty() }

// match holds an entry against the selectors.
func (sel *selection) match(e cache.Entry) bool {
	return (sel.labels.Empty() || sel.labels.Matches(e.Labels())) && (sel.fields.Empty() || sel.fields.Matches(e.Fields()))
}

// matcher is match, or nil when nothing needs to be looked at.
func (sel *selection) matcher() func(cache.Entry) bool {
	if sel.all() {
		return nil
	}
	return sel.match
}

// indexed returns a field and value by which the cache finds its watchers, if the selectors name one.
func (sel *selection) indexed(kind *registry.Kind) (name, value string) {
	for _, field := range kind.SelectableFields {
		if value, ok := sel.fields.RequiresExactMatch(kind.StoredField(field)); ok {
			return kind.StoredField(field), value
		}
	}
	return "", ""
}
