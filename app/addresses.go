package app

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/allocate"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/kube"
)

// addresses is the allocator of Service addresses, which answers only after it has been told of every stored Service: an address
// is never given twice, over restarts too.
type addresses struct {
	*allocate.Services
	adopted chan struct{}
}

func newAddresses(services netip.Prefix) (*addresses, error) {
	pool, err := allocate.New(allocate.Config{CIDRs: []netip.Prefix{services}})
	if err != nil {
		return nil, err
	}
	return &addresses{pool, make(chan struct{})}, nil
}

// Assign implements admission.Services.
func (a *addresses) Assign(ctx context.Context, svc, old *corev1.Service, dryRun bool) (undo, done func(), err error) {
	select {
	case <-a.adopted:
		return a.Services.Assign(ctx, svc, old, dryRun)
	case <-ctx.Done():
		return nil, nil, apierrors.NewServiceUnavailable("the server is still reading which Service addresses are taken; try again")
	}
}

// adopt tells the allocator of the Services in the store, once the server has read them.
func (a *addresses) adopt(ctx context.Context, server *apiserver.Server) error {
	select {
	case <-server.Cache().Ready():
	case <-ctx.Done():
		return nil
	}
	table := server.Cache().Table(server.Kinds().ByResource(kube.Services).StoragePrefix)
	table.Snapshot().Ascend("", "", func(e cache.Entry) bool {
		if svc, ok := e.Object().(*corev1.Service); ok {
			// Faults of stored Services are left as they are: traffic may depend on them.
			a.Adopt(svc)
		}
		return true
	})
	close(a.adopted)
	<-ctx.Done()
	return nil
}
