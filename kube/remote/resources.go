package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/kube"
)

// resourcesEvery is how often a follower asks what is served: there is no watch for that.
const resourcesEvery = 30 * time.Second

// Resources implements kube.Cluster.
func (c *Cluster) Resources(ctx context.Context) ([]kube.Resource, error) {
	lists, err := c.discovery.WithLegacy().ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return nil, fmt.Errorf("discover resources: %w", err)
	}
	var out []kube.Resource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("discover resources: %w", err)
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			out = append(out, kube.Resource{GroupVersionResource: gv.WithResource(r.Name), Kind: r.Kind, Namespaced: r.Namespaced})
		}
	}
	return out, nil
}

// FollowResources implements kube.Cluster.
func (c *Cluster) FollowResources(ctx context.Context, fn func([]kube.Resource)) error {
	last, err := c.Resources(ctx)
	if err != nil {
		return err
	}
	fn(last)
	go func() {
		tick := time.NewTicker(resourcesEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// What cannot be asked now is asked at the next tick; until then nothing has changed as far as anybody knows.
			now, err := c.Resources(ctx)
			if err == nil && ctx.Err() == nil && !slices.Equal(last, now) {
				last = now
				fn(now)
			}
		}
	}()
	return nil
}
