package check

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IntOrPercent accepts 0, 3 or "25%".
func IntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return Invalid(path, v, validation.IsValidPercent(v.StrVal))
	}
	return NonNegative(int64(v.IntVal), path)
}

// NotAbove100Percent refuses "101%"; a plain number has no upper bound.
func NotAbove100Percent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String && Figure(v) > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// Figure is the number in either form; what is not a figure at all counts as 0 and has a fault of its own.
func Figure(v intstr.IntOrString) int {
	if v.Type == intstr.Int {
		return v.IntValue()
	}
	if len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0
	}
	n, _ := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n
}
