package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// errEnough ends a watch whose reader has seen enough.
var errEnough = errors.New("enough")

func schemaResource(path string) schema.GroupResource { return schema.GroupResource{Resource: path} }

// WatchPods implements Target: a list, then a watch from there on. A watch that breaks off is taken up again; if the server no longer has the
// history, the list is read anew, and pods that went meanwhile are reported as deleted.
func (c *Cluster) WatchPods(ctx context.Context, namespace string, fn func(PodEvent) bool) error {
	known := map[string]*corev1.Pod{}
	for synced := false; ; synced = true {
		version, err := c.listPods(ctx, namespace, known, fn)
		if err == nil && !synced && !fn(PodEvent{Synced: true}) {
			return nil
		}
		for err == nil {
			version, err = c.watchPods(ctx, namespace, version, known, fn)
		}
		switch {
		case errors.Is(err, errEnough):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err):
			return err
		}
	}
}

func (c *Cluster) listPods(ctx context.Context, namespace string, known map[string]*corev1.Pod, fn func(PodEvent) bool) (string, error) {
	var pods corev1.PodList
	if err := c.get(ctx, path("Pod", namespace, ""), nil, &pods); err != nil {
		return "", err
	}
	there := map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		there[pod.Name] = true
		known[pod.Name] = pod
		if !fn(PodEvent{Pod: pod}) {
			return "", errEnough
		}
	}
	for name, pod := range known {
		if !there[name] {
			delete(known, name)
			if !fn(PodEvent{Pod: pod, Deleted: true}) {
				return "", errEnough
			}
		}
	}
	return pods.ResourceVersion, nil
}

// watchPods follows one watch to its end and returns where to go on.
func (c *Cluster) watchPods(ctx context.Context, namespace, version string, known map[string]*corev1.Pod, fn func(PodEvent) bool) (string, error) {
	query := url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version}}
	resp, err := c.request(ctx, http.MethodGet, path("Pod", namespace, ""), query, "", nil, "application/json")
	if err != nil {
		return version, err
	}
	defer resp.Body.Close()
	stream := json.NewDecoder(resp.Body)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := stream.Decode(&event); err != nil {
			return version, interrupted(ctx, err)
		}
		if event.Type == "ERROR" {
			return version, watchError(event.Object)
		}
		var pod corev1.Pod
		if err := json.Unmarshal(event.Object, &pod); err != nil {
			return version, fmt.Errorf("read a watch event: %w", err)
		}
		version = pod.ResourceVersion
		if event.Type == "BOOKMARK" {
			continue
		}
		deleted := event.Type == "DELETED"
		if known[pod.Name] = &pod; deleted {
			delete(known, pod.Name)
		}
		if !fn(PodEvent{Pod: &pod, Deleted: deleted}) {
			return version, errEnough
		}
	}
}

// interrupted tells a stream that ended, which is normal, from one that broke.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func watchError(data []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(data, &status); err != nil {
		return fmt.Errorf("read a watch error: %w", err)
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// WaitGone implements Target.
func (c *Cluster) WaitGone(ctx context.Context, kind, namespace, name string) error {
	for {
		var obj metav1.PartialObjectMetadata
		resp, err := c.request(ctx, http.MethodGet, path(kind, namespace, name), nil, "", nil, "application/json")
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		err = json.NewDecoder(resp.Body).Decode(&obj)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("read %s %s: %w", kind, name, err)
		}
		gone, err := c.watchGone(ctx, kind, namespace, name, obj.ResourceVersion)
		if err != nil || gone {
			return err
		}
	}
}

// watchGone follows one object until it is deleted, or the watch ends.
func (c *Cluster) watchGone(ctx context.Context, kind, namespace, name, version string) (bool, error) {
	// A time limit covers a server that cannot watch single objects.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	query := url.Values{"watch": {"true"}, "resourceVersion": {version}, "fieldSelector": {"metadata.name=" + name}}
	resp, err := c.request(ctx, http.MethodGet, path(kind, namespace, ""), query, "", nil, "application/json")
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, context.DeadlineExceeded) {
			return false, nil
		}
		return false, err
	}
	defer resp.Body.Close()
	stream := json.NewDecoder(resp.Body)
	for {
		var event struct {
			Type string `json:"type"`
		}
		if err := stream.Decode(&event); err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, nil
			}
			return false, interrupted(ctx, err)
		}
		switch event.Type {
		case "DELETED":
			return true, nil
		case "ERROR":
			return false, nil
		}
	}
}
