package patch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxOperations bounds the work that one JSON patch can ask for.
const maxOperations = 10000

// Patch is a request to change an object.
type Patch struct {
	Type   types.PatchType
	Data   []byte
	Strict bool // look for unknown and duplicate fields
	// Warn, if set, takes the faults that Strict finds; nil: they fail the patch.
	Warn func([]error)
}

// Types are the patch types by media type, in the order error messages name them. Untyped objects have no tags that a strategic merge could go by.
func Types(untyped bool) []string {
	if untyped {
		return []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}
	}
	return []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
}

// Change applies the patch to current and fills the result into into, an empty object of the same type. Errors are status errors.
// Server-side apply is not here: it needs the record of fields (Fields.Apply).
func (p Patch) Change(current, into runtime.Object) error {
	switch p.Type {
	case types.JSONPatchType, types.MergePatchType:
		return p.changeJSON(current, into)
	case types.StrategicMergePatchType:
		return p.changeStrategic(current, into)
	default:
		return fmt.Errorf("%v: unimplemented patch type", p.Type)
	}
}

func (p Patch) changeJSON(current, into runtime.Object) error {
	text, err := json.Marshal(current)
	if err != nil {
		return err
	}
	patched, faults, err := p.patchJSON(text)
	if err != nil {
		return err
	}
	var target any = into
	if u, ok := into.(*unstructured.Unstructured); ok {
		u.Object = nil
		target = &u.Object
	}
	if p.Strict {
		more, err := kjson.UnmarshalStrict(patched, target)
		if err != nil {
			return invalidPatch(string(patched), err)
		}
		return p.report(append(faults, more...), string(patched))
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(patched, target); err != nil {
		return invalidPatch(string(patched), err)
	}
	return nil
}

func (p Patch) patchJSON(text []byte) (patched []byte, faults []error, err error) {
	if p.Type == types.MergePatchType {
		return p.mergeJSON(text)
	}
	if p.Strict {
		var operations []struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			From  string `json:"from"`
			Value any    `json:"value"`
		}
		if faults, err = kjson.UnmarshalStrict(p.Data, &operations); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		for i := range faults {
			faults[i] = fmt.Errorf("json patch %w", faults[i])
		}
	}
	operations, err := jsonpatch.DecodePatch(p.Data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(operations)))
	}
	if patched, err = operations.Apply(text); err != nil {
		return nil, nil, unprocessable(err)
	}
	return patched, faults, nil
}

func (p Patch) mergeJSON(text []byte) (patched []byte, faults []error, err error) {
	if p.Strict {
		var document map[string]any
		if faults, err = kjson.UnmarshalStrict(p.Data, &document); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
	}
	patched, err = jsonpatch.MergePatch(text, p.Data)
	if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return patched, faults, err
}

func (p Patch) changeStrategic(current, into runtime.Object) error {
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
	if err != nil {
		return err
	}
	change := map[string]any{}
	var faults []error
	if p.Strict {
		faults, err = kjson.UnmarshalStrict(p.Data, &change)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(p.Data, &change)
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	patched, err := strategicpatch.StrategicMergeMapPatch(document, change, into)
	if err != nil {
		return strategicError(err)
	}
	return p.fill(patched, into, faults, change)
}

// fill decodes a patched document. The fault that clients see quotes their patch, not the whole document.
func (p Patch) fill(patched map[string]any, into runtime.Object, faults []error, change map[string]any) error {
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patched, into, p.Strict)
	if err == nil {
		return p.report(faults, fmt.Sprintf("%+v", change))
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return invalidPatch(fmt.Sprintf("%+v", change), err)
	}
	return p.report(append(faults, strict.Errors()...), fmt.Sprintf("%+v", change))
}

func (p Patch) report(faults []error, document string) error {
	if len(faults) == 0 {
		return nil
	}
	if p.Warn != nil {
		p.Warn(faults)
		return nil
	}
	return invalidPatch(document, runtime.NewStrictDecodingError(faults))
}

// Report treats faults of the patched object as those that decoding finds.
func (p Patch) Report(faults []error) error { return p.report(faults, string(p.Data)) }

func invalidPatch(document string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), document, err.Error())})
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// strategicError tells faults of the patch from faults of ours.
func strategicError(err error) error {
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	case errors.Is(err, mergepatch.ErrNoListOfLists):
		return unprocessable(err)
	default:
		return err
	}
}

// Configuration parses an applied configuration.
func (p Patch) Configuration() (*unstructured.Unstructured, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(p.Data, &config.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if !p.Strict {
		return config, nil
	}
	if err := yaml.UnmarshalStrict(p.Data, &map[string]any{}); err != nil {
		if p.Warn == nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
		}
		p.Warn([]error{err})
	}
	return config, nil
}
