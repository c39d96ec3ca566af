// Package environ makes the environment of a container.
//
// It reads ConfigMaps, Secrets and Services through the Source it is given and keeps nothing. Start with Build.
package environ

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Source is where values come from.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	ServiceList(namespace string) []*corev1.Service
}

// Var is one variable.
type Var struct{ Name, Value string }

// Input is what a container's environment is made from.
type Input struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Facts     Facts
	Source    Source
}

// Build returns the variables in a stable order: the spec's own in the order they are written, then the rest by name. A value may use
// $(NAME) of any variable before it. A missing ConfigMap, Secret or key is errkind.NotFound unless it is optional.
func Build(ctx context.Context, in Input) ([]Var, error) {
	values := map[string]string{}
	if err := fromSources(ctx, in, values); err != nil {
		return nil, err
	}
	services := serviceVars(in)
	expand := mapping(values, services)
	var order []string
	for i := range in.Container.Env {
		env := &in.Container.Env[i]
		value, keep, err := valueOf(ctx, in, env, expand)
		if err != nil {
			return nil, err
		}
		if !keep {
			continue
		}
		values[env.Name] = value
		order = append(slices.DeleteFunc(order, func(n string) bool { return n == env.Name }), env.Name)
	}
	for name, value := range services {
		if _, ok := values[name]; !ok {
			values[name] = value
		}
	}
	var rest []string
	for name := range values {
		if !slices.Contains(order, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	var out []Var
	for _, name := range append(order, rest...) {
		out = append(out, Var{name, values[name]})
	}
	return out, nil
}

// Lookup returns an Expand function over finished variables, for commands and arguments.
func Lookup(vars []Var) func(string) (string, bool) {
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value
	}
	return mapping(values)
}

func mapping(layers ...map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, layer := range layers {
			if v, ok := layer[name]; ok {
				return v, true
			}
		}
		return "", false
	}
}

func fromSources(ctx context.Context, in Input, values map[string]string) error {
	for _, from := range in.Container.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			object, err := in.Source.ConfigMap(ctx, in.Pod.Namespace, from.ConfigMapRef.Name)
			if err != nil {
				if missing(err, from.ConfigMapRef.Optional) {
					continue
				}
				return err
			}
			for key, value := range object.Data {
				values[from.Prefix+key] = value
			}
		case from.SecretRef != nil:
			object, err := in.Source.Secret(ctx, in.Pod.Namespace, from.SecretRef.Name)
			if err != nil {
				if missing(err, from.SecretRef.Optional) {
					continue
				}
				return err
			}
			for key, value := range object.Data {
				values[from.Prefix+key] = string(value)
			}
		}
	}
	return nil
}

func missing(err error, optional *bool) bool {
	return optional != nil && *optional && errors.Is(err, errkind.NotFound)
}

// valueOf returns a variable's value, and whether it exists at all: an optional reference to nothing does not.
func valueOf(ctx context.Context, in Input, env *corev1.EnvVar, expand func(string) (string, bool)) (string, bool, error) {
	from := env.ValueFrom
	switch {
	case from == nil:
		return Expand(env.Value, expand), true, nil
	case from.FieldRef != nil:
		value, err := in.Facts.Field(in.Pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := in.Facts.Resource(in.Pod, in.Container, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := in.Source.ConfigMap(ctx, in.Pod.Namespace, ref.Name)
		if err != nil {
			return "", false, keep(err, ref.Optional)
		}
		if value, ok := object.Data[ref.Key]; ok {
			return value, true, nil
		}
		return "", false, keep(noKey(ref.Key, "ConfigMap", in.Pod.Namespace, ref.Name), ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := in.Source.Secret(ctx, in.Pod.Namespace, ref.Name)
		if err != nil {
			return "", false, keep(err, ref.Optional)
		}
		if value, ok := object.Data[ref.Key]; ok {
			return string(value), true, nil
		}
		return "", false, keep(noKey(ref.Key, "Secret", in.Pod.Namespace, ref.Name), ref.Optional)
	default:
		return "", false, errkind.New(errkind.Invalid, "variable %q: its kind of source is not supported", env.Name)
	}
}

func keep(err error, optional *bool) error {
	if missing(err, optional) {
		return nil
	}
	return err
}

func noKey(key, kind, namespace, name string) error {
	return errkind.New(errkind.NotFound, "couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

// Expand replaces $(NAME) by the variable's value; $$ is a dollar sign, and what names no variable stays as it is.
func Expand(text string, lookup func(string) (string, bool)) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			name := text[i+2 : i+end]
			if value, ok := lookup(name); ok {
				out.WriteString(value)
			} else {
				out.WriteString(text[i : i+end+1])
			}
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

// ExpandAll expands every word.
func ExpandAll(words []string, lookup func(string) (string, bool)) []string {
	var out []string
	for _, word := range words {
		out = append(out, Expand(word, lookup))
	}
	return out
}

// serviceVars are the variables that tell where Services are, as containers have known them since before there was DNS: those of the pod's namespace,
// and always the API server's own.
func serviceVars(in Input) map[string]string {
	out := map[string]string{}
	add := func(namespace string, only string) {
		for _, service := range in.Source.ServiceList(namespace) {
			if only == "" || service.Name == only {
				describe(service, out)
			}
		}
	}
	add("default", "kubernetes")
	if links := in.Pod.Spec.EnableServiceLinks; links == nil || *links {
		add(in.Pod.Namespace, "")
	}
	return out
}

func describe(service *corev1.Service, out map[string]string) {
	ip := service.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
		return
	}
	host := ip
	if strings.Contains(ip, ":") {
		host = "[" + ip + "]"
	}
	name := strings.ToUpper(strings.ReplaceAll(service.Name, "-", "_"))
	first := service.Spec.Ports[0]
	out[name+"_SERVICE_HOST"] = ip
	out[name+"_SERVICE_PORT"] = fmt.Sprint(first.Port)
	out[name+"_PORT"] = fmt.Sprintf("%s://%s:%d", scheme(first), host, first.Port)
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			out[name+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(port.Name, "-", "_"))] = fmt.Sprint(port.Port)
		}
		prefix := fmt.Sprintf("%s_PORT_%d_%s", name, port.Port, strings.ToUpper(scheme(port)))
		out[prefix] = fmt.Sprintf("%s://%s:%d", scheme(port), host, port.Port)
		out[prefix+"_PROTO"] = scheme(port)
		out[prefix+"_PORT"] = fmt.Sprint(port.Port)
		out[prefix+"_ADDR"] = ip
	}
}

func scheme(port corev1.ServicePort) string {
	if port.Protocol == "" {
		return "tcp"
	}
	return strings.ToLower(string(port.Protocol))
}
