package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Services hands out the addresses and node ports of Services. Both calls change what is taken at once; the functions returned say how the
// story of the write ends.
type Services interface {
	// Assign fills in what svc needs and does not have, and takes what it asks for by name. old is nil for a new Service. The error is an API
	// status error. undo gives back what was taken; done gives back what old held and svc does not any more.
	Assign(ctx context.Context, svc, old *corev1.Service, dryRun bool) (undo, done func(), err error)
	// Release gives back everything a removed Service held.
	Release(svc *corev1.Service)
	// Adopt takes what a stored Service holds; it is called for each of them before the first Assign. Problems are for the log.
	Adopt(svc *corev1.Service) (problems []error)
}

type serviceAddresses struct{ services Services }

func (p *serviceAddresses) take(ctx context.Context, req *Request) error {
	if !req.is("", "services") || req.Subresource != "" {
		return nil
	}
	old, _ := req.Old.(*corev1.Service)
	undo, done, err := p.services.Assign(ctx, req.Object.(*corev1.Service), old, req.DryRun)
	if err != nil {
		return err
	}
	req.OnFailure(undo)
	req.OnStored(done)
	return nil
}

func (p *serviceAddresses) removed(kind *registry.Kind, obj registry.Object) {
	if svc, ok := obj.(*corev1.Service); ok && kind.Resource == "services" {
		p.services.Release(svc)
	}
}
