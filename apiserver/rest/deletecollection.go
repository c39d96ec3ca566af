package rest

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/cache"
)

// deleteAtOnce bounds how many objects of a collection are being deleted at a time. Each waits for the disk, and those that wait together share
// the wait; with more of them there is little left to share.
const deleteAtOnce = 32

// deleteAll deletes the objects, each as a delete of its own: with its admission, the preconditions and the propagation asked for. One that is gone
// already is no error. After the first error, which it returns, and after ctx has ended no further delete begins; those under way are waited for.
func (s *Service) deleteAll(ctx context.Context, c *Call, entries []cache.Entry, opts metav1.DeleteOptions) error {
	var warning sync.Mutex
	warn := func(text string) {
		warning.Lock()
		defer warning.Unlock()
		c.Warn(text)
	}
	return inParallel(ctx, deleteAtOnce, entries, func(e cache.Entry) error {
		one := *c
		one.Namespace, one.Name, one.Warn = e.Namespace(), e.Name(), warn
		if _, err := s.Delete(ctx, &one, opts); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
}

// inParallel does something with each item, in their order, at most so many at a time, until one fails or ctx ends. It returns the first error when all
// that began are done. A panic goes on in the caller, who answers for it, instead of ending the program.
func inParallel[T any](ctx context.Context, atOnce int, items []T, do func(T) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		group    sync.WaitGroup
		panicked sync.Once
		fault    any
	)
	slots := make(chan struct{}, atOnce)
	for _, item := range items {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() { <-slots }()
			defer func() {
				if r := recover(); r != nil {
					panicked.Do(func() { fault = r })
					stop(context.Canceled)
				}
			}()
			if err := do(item); err != nil {
				stop(err)
			}
		})
	}
	group.Wait()
	if fault != nil {
		panic(fault)
	}
	return context.Cause(ctx)
}
