package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Services hands out the addresses and node ports of Services. Both calls change what is taken at once; the functions returned say how the
// story of the write ends.
type Services interface {
	// Assign fills in what svc needs and does not have, and takes what it asks for by name. old is nil for a new Service. The error is an API
	// status error. undo gives back what was taken; done gives back what old held and svc does not any more.
	Assign(ctx context.Context, svc, old *corev1.Service, dryRun bool) (undo, done func(), err error)
	// Release gives back everything a removed Service held.
	Release(svc *corev1.Service)
}

type serviceAddresses struct{ services Services }

func (p *serviceAddresses) mutate(ctx context.Context, req *Request) error {
	if !req.is("", "services") || req.Subresource != "" {
		return nil
	}
	switch req.Operation {
	case Create, Update:
		svc := req.Object.(*corev1.Service)
		old, _ := req.Old.(*corev1.Service)
		undo, done, err := p.services.Assign(ctx, svc, old, req.DryRun)
		if err != nil {
			return err
		}
		req.OnFailure(undo)
		req.OnStored(done)
	case Delete:
		if old, ok := req.Old.(*corev1.Service); ok && !req.DryRun {
			req.OnStored(func() { p.services.Release(old) })
		}
	}
	return nil
}
