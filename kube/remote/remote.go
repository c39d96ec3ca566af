// Package remote is kube.Cluster over HTTPS: client-go's informers for reading, its REST clients for writing.
//
// Agents use it, and tests. Start with Cluster.
package remote

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/kube"
)

// Config says how to reach the server.
type Config struct {
	REST *rest.Config // address and credentials; content type and rate limits are set here
	// Selectors narrow what Sources hold, by resource; an agent keeps its own node's pods only. Zero: everything.
	Selectors map[schema.GroupVersionResource]fields.Selector
}

// Cluster is the remote kube.Cluster. Its Sources fill on first use and live until Run's context ends.
type Cluster struct {
	config    Config
	discovery *discovery.DiscoveryClient
	metadata  metadata.Interface

	mu      sync.Mutex
	clients map[schema.GroupVersion]*rest.RESTClient
	sources map[of]*source
	ctx     context.Context // of Run; nil before it: sources asked for earlier start with it
	wg      sync.WaitGroup
}

var _ kube.Cluster = (*Cluster)(nil)

// New returns a Cluster; it connects to nothing yet.
func New(config Config) (*Cluster, error) {
	cfg := rest.CopyConfig(config.REST)
	cfg.QPS, cfg.Burst = -1, -1
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	cfg.ContentConfig.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.REST = cfg
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make discovery client: %w", err)
	}
	m, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make metadata client: %w", err)
	}
	return &Cluster{
		config:    config,
		discovery: d,
		metadata:  m,
		clients:   map[schema.GroupVersion]*rest.RESTClient{},
		sources:   map[of]*source{},
	}, nil
}

// Run keeps the Sources up to date until ctx ends.
func (c *Cluster) Run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	for _, s := range c.sources {
		c.startLocked(s)
	}
	c.mu.Unlock()
	<-ctx.Done()
	c.wg.Wait()
	return nil
}

func (c *Cluster) startLocked(s *source) {
	ctx := c.ctx
	c.wg.Go(func() { s.informer.RunWithContext(ctx) })
}

// of names one source: a resource, whole or its metadata.
type of struct {
	res      schema.GroupVersionResource
	metadata bool
}

// Source implements kube.Cluster.
func (c *Cluster) Source(res schema.GroupVersionResource) kube.Source {
	return c.source(of{res, false})
}

// Metadata implements kube.Cluster.
func (c *Cluster) Metadata(res schema.GroupVersionResource) kube.Source {
	return c.source(of{res, true})
}

// Await blocks until the Sources of the resources hold what there is, or ctx ends. Before that they seem empty to those who only read them.
func (c *Cluster) Await(ctx context.Context, resources ...schema.GroupVersionResource) error {
	var filled []<-chan struct{}
	for _, res := range resources { // all of them begin before the first is waited for
		filled = append(filled, c.source(of{res, false}).informer.HasSyncedChecker().Done())
	}
	for _, done := range filled {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *Cluster) source(of of) *source {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[of]; ok {
		return s
	}
	lw := c.listWatch(of.res)
	if of.metadata {
		lw = c.listWatchMetadata(of.res)
	}
	s := newSource(lw, c.config.Selectors[of.res])
	c.sources[of] = s
	if c.ctx != nil && c.ctx.Err() == nil {
		c.startLocked(s)
	}
	return s
}

// client returns the REST client of a group and version, and an error only for an unusable configuration.
func (c *Cluster) client(gv schema.GroupVersion) (*rest.RESTClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.clients[gv]; ok {
		return client, nil
	}
	cfg := rest.CopyConfig(c.config.REST)
	cfg.GroupVersion = &gv
	cfg.APIPath = "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", gv, err)
	}
	c.clients[gv] = client
	return client, nil
}

// Live implements kube.Cluster.
func (c *Cluster) Live(ctx context.Context, res schema.GroupVersionResource, namespace, name string) (kube.Object, error) {
	client, err := c.client(res.GroupVersion())
	if err != nil {
		return nil, err
	}
	return object(client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(res.Resource).Name(name).Do(ctx))
}

// Create implements kube.Writer.
func (c *Cluster) Create(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return c.put(ctx, "POST", obj)
}

// Update implements kube.Writer.
func (c *Cluster) Update(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return c.put(ctx, "PUT", obj)
}

// UpdateStatus implements kube.Writer.
func (c *Cluster) UpdateStatus(ctx context.Context, obj kube.Object) (kube.Object, error) {
	return c.put(ctx, "PUT", obj, "status")
}

// UpdateSub implements kube.Writer.
func (c *Cluster) UpdateSub(ctx context.Context, obj kube.Object, subresource string) (kube.Object, error) {
	return c.put(ctx, "PUT", obj, subresource)
}

func (c *Cluster) put(ctx context.Context, verb string, obj kube.Object, subresources ...string) (kube.Object, error) {
	res, err := kube.ResourceOf(scheme.Scheme, obj)
	if err != nil {
		return nil, err
	}
	client, err := c.client(res.GroupVersion())
	if err != nil {
		return nil, err
	}
	req := client.Verb(verb).NamespaceIfScoped(obj.GetNamespace(), obj.GetNamespace() != "").Resource(res.Resource)
	if verb == "PUT" {
		req = req.Name(obj.GetName()).SubResource(subresources...)
	}
	out, err := object(req.Body(obj).Do(ctx))
	if err != nil {
		return nil, err
	}
	c.awaitWrite(ctx, res, out)
	return out, nil
}

// Patch implements kube.Writer.
func (c *Cluster) Patch(ctx context.Context, res schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, subresources ...string) (kube.Object, error) {
	client, err := c.client(res.GroupVersion())
	if err != nil {
		return nil, err
	}
	out, err := object(client.Patch(pt).NamespaceIfScoped(namespace, namespace != "").Resource(res.Resource).Name(name).
		SubResource(subresources...).Body(data).Do(ctx))
	if err != nil {
		return nil, err
	}
	c.awaitWrite(ctx, res, out)
	return out, nil
}

// Delete implements kube.Writer.
func (c *Cluster) Delete(ctx context.Context, res schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) error {
	client, err := c.client(res.GroupVersion())
	if err != nil {
		return err
	}
	before := c.peek(res, namespace, name)
	err = client.Delete().NamespaceIfScoped(namespace, namespace != "").Resource(res.Resource).Name(name).Body(&opts).Do(ctx).Error()
	if err != nil {
		return err
	}
	if before != nil && before.GetDeletionTimestamp() == nil {
		c.awaitDelete(ctx, res, before)
	}
	return nil
}

// CreateSub implements kube.Writer.
func (c *Cluster) CreateSub(ctx context.Context, res schema.GroupVersionResource, namespace, name, subresource string, body runtime.Object) (runtime.Object, error) {
	client, err := c.client(res.GroupVersion())
	if err != nil {
		return nil, err
	}
	return client.Post().NamespaceIfScoped(namespace, namespace != "").Resource(res.Resource).Name(name).
		SubResource(subresource).Body(body).Do(ctx).Get()
}

func object(result rest.Result) (kube.Object, error) {
	obj, err := result.Get()
	if err != nil {
		return nil, err
	}
	o, ok := obj.(kube.Object)
	if !ok {
		return nil, fmt.Errorf("decode answer: %T is not an object", obj)
	}
	return o, nil
}
