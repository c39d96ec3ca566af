package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// FieldManager owns what this package applies.
const FieldManager = "cuppa-compose"

// Cluster is a Target over the Kubernetes API: plain HTTP requests, protobuf answers, no discovery, so that a command that only looks costs one
// round trip for each kind it looks at.
type Cluster struct {
	client *http.Client
	base   *url.URL
}

// NewCluster makes a client of what a kubeconfig says. It sends nothing yet.
func NewCluster(config *rest.Config) (*Cluster, error) {
	c := rest.CopyConfig(config)
	c.QPS = -1
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	return &Cluster{client: client, base: base}, nil
}

// resources is the table of the kinds this package touches.
func resources() map[string]string {
	return map[string]string{
		"Namespace": "/api/v1/namespaces", "Pod": "/api/v1/namespaces/%s/pods", "Service": "/api/v1/namespaces/%s/services",
		"ConfigMap": "/api/v1/namespaces/%s/configmaps", "Secret": "/api/v1/namespaces/%s/secrets",
		"Deployment": "/apis/apps/v1/namespaces/%s/deployments",
	}
}

func path(kind, namespace, name string) string {
	p := resources()[kind]
	if strings.Contains(p, "%s") {
		p = fmt.Sprintf(p, namespace)
	}
	if name != "" {
		p += "/" + name
	}
	return p
}

// wire is any API type: all of them have a protobuf form.
type wire interface{ Unmarshal([]byte) error }

const protobuf = "application/vnd.kubernetes.protobuf"

// request sends one request and returns its body, or the API's error.
func (c *Cluster) request(ctx context.Context, method, path string, query url.Values, contentType string, body []byte, accept string) (*http.Response, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, statusError(resp, method, path)
	}
	return resp, nil
}

func statusError(resp *http.Response, method, path string) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var status metav1.Status
	if err := decode(resp.Header.Get("Content-Type"), data, &status); err == nil && status.Status != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, method, schemaResource(path), "", strings.TrimSpace(string(data)), 0, true)
}

func decode(contentType string, data []byte, into wire) error {
	if !strings.HasPrefix(contentType, protobuf) {
		return json.Unmarshal(data, into)
	}
	rest, ok := bytes.CutPrefix(data, []byte("k8s\x00"))
	if !ok {
		return fmt.Errorf("the answer is not what its content type says")
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(rest); err != nil {
		return err
	}
	return into.Unmarshal(envelope.Raw)
}

func (c *Cluster) get(ctx context.Context, path string, query url.Values, into wire) error {
	resp, err := c.request(ctx, http.MethodGet, path, query, "", nil, protobuf+",application/json;q=0.5")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer to GET %s: %w", path, err)
	}
	return decode(resp.Header.Get("Content-Type"), data, into)
}

// Ready asks the server whether it is up.
func (c *Cluster) Ready(ctx context.Context) error {
	resp, err := c.request(ctx, http.MethodGet, "/readyz", nil, "", nil, "*/*")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// State implements Target.
func (c *Cluster) State(ctx context.Context, namespace string, parts Parts) (*plan.State, error) {
	state := &plan.State{}
	var (
		wg    sync.WaitGroup
		lock  sync.Mutex
		first error
	)
	connected := false
	fetch := func(wanted bool, fn func() error) {
		if !wanted || first != nil && !connected {
			return
		}
		run := func() {
			if err := fn(); err != nil {
				lock.Lock()
				defer lock.Unlock()
				if first == nil {
					first = err
				}
			}
		}
		// The first request goes alone: the others then share its connection instead of each shaking hands.
		if !connected {
			run()
			connected = first == nil
			return
		}
		wg.Go(run)
	}
	fetch(parts.Namespace, func() error {
		ns := &corev1.Namespace{}
		err := c.get(ctx, path("Namespace", "", namespace), nil, ns)
		if apierrors.IsNotFound(err) {
			return nil
		}
		state.Namespace = ns
		return err
	})
	fetch(parts.Deployments, func() (err error) {
		state.Deployments, err = list(ctx, c, path("Deployment", namespace, ""), &appsv1.DeploymentList{},
			func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items })
		return err
	})
	fetch(parts.Services || parts.AllServices, func() (err error) {
		p := path("Service", namespace, "")
		if parts.AllServices {
			p = "/api/v1/services"
		}
		all, err := list(ctx, c, p, &corev1.ServiceList{}, func(l *corev1.ServiceList) []corev1.Service { return l.Items })
		state.Services, state.Taken = split(all, namespace)
		return err
	})
	fetch(parts.Files, func() (err error) {
		state.ConfigMaps, err = list(ctx, c, path("ConfigMap", namespace, ""), &corev1.ConfigMapList{},
			func(l *corev1.ConfigMapList) []corev1.ConfigMap { return l.Items })
		return err
	})
	fetch(parts.Files, func() (err error) {
		state.Secrets, err = list(ctx, c, path("Secret", namespace, ""), &corev1.SecretList{}, func(l *corev1.SecretList) []corev1.Secret { return l.Items })
		return err
	})
	fetch(parts.Pods, func() (err error) {
		state.Pods, err = list(ctx, c, path("Pod", namespace, ""), &corev1.PodList{}, func(l *corev1.PodList) []corev1.Pod { return l.Items })
		return err
	})
	wg.Wait()
	return state, first
}

func list[L wire, T any](ctx context.Context, c *Cluster, path string, into L, items func(L) []T) ([]*T, error) {
	if err := c.get(ctx, path, nil, into); err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	all := items(into)
	out := make([]*T, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out, nil
}

// split parts the project's Services from those of others, of which only the ports they hold matter.
func split(all []*corev1.Service, namespace string) (own []*corev1.Service, taken []plan.Taken) {
	for _, s := range all {
		if s.Namespace == namespace {
			own = append(own, s)
			continue
		}
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer && s.Spec.Type != corev1.ServiceTypeNodePort {
			continue
		}
		var hostIP map[string]string
		_ = json.Unmarshal([]byte(s.Annotations[api.AnnotationHostIP]), &hostIP)
		by := fmt.Sprintf("service %s of namespace %s", s.Name, s.Namespace)
		if p := s.Labels[api.LabelProject]; p != "" {
			by = fmt.Sprintf("service %s of project %s", s.Labels[api.LabelService], p)
		}
		for _, p := range s.Spec.Ports {
			if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
				taken = append(taken, plan.Taken{Port: p.Port, Protocol: p.Protocol, HostIP: hostIP[fmt.Sprintf("%d/%s", p.Port, p.Protocol)], By: by})
			}
			if p.NodePort > 0 {
				taken = append(taken, plan.Taken{Port: p.NodePort, Protocol: p.Protocol, By: by})
			}
		}
	}
	return own, taken
}

// Apply implements Target.
func (c *Cluster) Apply(ctx context.Context, obj plan.Object) error {
	data, err := intent(obj)
	if err != nil {
		return err
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	query := url.Values{"fieldManager": {FieldManager}, "force": {"true"}}
	return c.send(ctx, http.MethodPatch, path(kind, obj.GetNamespace(), obj.GetName()), query, "application/apply-patch+yaml", data)
}

// intent is the object as server-side apply wants it: without status.
func intent(obj plan.Object) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.GetName(), err)
	}
	delete(fields, "status")
	if meta, ok := fields["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	return json.Marshal(fields)
}

func (c *Cluster) send(ctx context.Context, method, path string, query url.Values, contentType string, body []byte) error {
	resp, err := c.request(ctx, method, path, query, contentType, body, protobuf+",application/json;q=0.5")
	if err != nil {
		return err
	}
	// Read to the end, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// Patch implements Target.
func (c *Cluster) Patch(ctx context.Context, kind, namespace, name string, merge []byte) error {
	return c.send(ctx, http.MethodPatch, path(kind, namespace, name), url.Values{"fieldManager": {FieldManager}}, "application/merge-patch+json", merge)
}

// Create implements Target.
func (c *Cluster) Create(ctx context.Context, obj plan.Object) error {
	data, err := intent(obj)
	if err != nil {
		return err
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	return c.send(ctx, http.MethodPost, path(kind, obj.GetNamespace(), ""), url.Values{"fieldManager": {FieldManager}}, "application/json", data)
}

// Delete implements Target.
func (c *Cluster) Delete(ctx context.Context, kind, namespace, name string, grace *int64) error {
	background := metav1.DeletePropagationBackground
	body, err := json.Marshal(metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"},
		GracePeriodSeconds: grace, PropagationPolicy: &background})
	if err != nil {
		return err
	}
	err = c.send(ctx, http.MethodDelete, path(kind, namespace, name), nil, "application/json", body)
	if apierrors.IsNotFound(err) || kind == "Namespace" && apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Logs implements Target.
func (c *Cluster) Logs(ctx context.Context, pod *corev1.Pod, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	query := url.Values{"container": {opts.Container}}
	if opts.Follow {
		query.Set("follow", "true")
	}
	if opts.Timestamps {
		query.Set("timestamps", "true")
	}
	if opts.TailLines != nil {
		query.Set("tailLines", strconv.FormatInt(*opts.TailLines, 10))
	}
	if opts.SinceTime != nil {
		query.Set("sinceTime", opts.SinceTime.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if opts.Previous {
		query.Set("previous", "true")
	}
	resp, err := c.request(ctx, http.MethodGet, path("Pod", pod.Namespace, pod.Name)+"/log", query, "", nil, "*/*")
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Projects implements Projects.
func (c *Cluster) Projects(ctx context.Context) ([]*corev1.Namespace, error) {
	var all corev1.NamespaceList
	if err := c.get(ctx, path("Namespace", "", ""), url.Values{"labelSelector": {api.LabelProject}}, &all); err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	out := make([]*corev1.Namespace, len(all.Items))
	for i := range all.Items {
		out[i] = &all.Items[i]
	}
	return out, nil
}
