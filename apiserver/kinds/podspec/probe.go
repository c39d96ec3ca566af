package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

func validateProbe(p *corev1.Probe, at *field.Path) field.ErrorList {
	errs := validateHandler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, 0, at)
	for _, f := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds}, {"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold}, {"failureThreshold", p.FailureThreshold},
	} {
		errs = append(errs, check.NonNegative(int64(f.value), at.Child(f.name))...)
	}
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0"))
	}
	return errs
}

func validateLifecycle(l *corev1.Lifecycle, grace int64, os *corev1.PodOS, at *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	hook := func(name string, h *corev1.LifecycleHandler) {
		if h != nil {
			errs = append(errs, validateHandler(handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, grace, at.Child(name))...)
		}
	}
	hook("postStart", l.PostStart)
	hook("preStop", l.PreStop)
	if l.StopSignal != nil {
		if os == nil {
			errs = append(errs, field.Forbidden(at.Child("stopSignal"), "may not be set for containers with empty `spec.os.name`"))
		} else if os.Name == corev1.Windows && *l.StopSignal != corev1.SIGTERM && *l.StopSignal != corev1.SIGKILL {
			errs = append(errs, field.NotSupported(at.Child("stopSignal"), *l.StopSignal, []corev1.Signal{corev1.SIGKILL, corev1.SIGTERM}))
		}
	}
	return errs
}

// handler is what probes and hooks have in common.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

// validateHandler checks that there is exactly one way to act, and that one.
func validateHandler(h handler, grace int64, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := false
	first := func(name string) bool {
		if found {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 handler type"))
			return false
		}
		found = true
		return true
	}
	if h.exec != nil && first("exec") && len(h.exec.Command) == 0 {
		errs = append(errs, field.Required(at.Child("exec", "command"), ""))
	}
	if h.http != nil && first("httpGet") {
		errs = append(errs, validateHTTPGet(h.http, at.Child("httpGet"))...)
	}
	if h.tcp != nil && first("tcpSocket") {
		errs = append(errs, PortOrName(h.tcp.Port, at.Child("tcpSocket", "port"))...)
	}
	if h.grpc != nil && first("grpc") {
		errs = append(errs, PortOrName(intstr.FromInt32(h.grpc.Port), at.Child("grpc", "port"))...)
	}
	if h.sleep != nil && first("sleep") && (h.sleep.Seconds < 0 || h.sleep.Seconds > grace) {
		errs = append(errs, field.Invalid(at.Child("sleep"), h.sleep.Seconds,
			fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", grace)))
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(get *corev1.HTTPGetAction, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if get.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	}
	errs = append(errs, PortOrName(get.Port, at.Child("port"))...)
	errs = append(errs, check.OneOfOrNone(get.Scheme, at.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range get.HTTPHeaders {
		errs = append(errs, check.Invalid(at.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

// PortOrName accepts a port number or the name of a container's port.
func PortOrName(port intstr.IntOrString, at *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return check.Invalid(at, port.StrVal, validation.IsValidPortName(port.StrVal))
	}
	return check.Invalid(at, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
}
