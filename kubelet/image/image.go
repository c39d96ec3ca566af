// Package image makes sure that a container's image is on this node before the container is created.
//
// It decides by the pull policy, finds the credentials among the pod's secrets, and lets one pull serve all who wait for the same
// image. It does not remove images. Start with Puller.Ensure.
package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Source reads the pull secrets.
type Source interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Puller ensures images.
type Puller struct {
	Images cri.ImageManagerService
	Source Source

	mu    sync.Mutex
	pulls map[string]*pull
}

type pull struct {
	done chan struct{}
	ref  string
	err  error
}

// Image is an image that is on the node.
type Image struct {
	Ref      string // what containers are created from
	UID      *int64 // the user it runs as, if it is a number
	Username string
	Pulled   bool // it was not here before
	Took     time.Duration
	Size     uint64
}

// Kinds of failure, with the reasons users know.
var (
	ErrPull        = errors.New("ErrImagePull")
	ErrNeverPull   = errors.New("ErrImageNeverPull")
	ErrInvalidName = errors.New("InvalidImageName")
	ErrInspect     = errors.New("ImageInspectError")
)

type failure struct {
	kind error
	err  error
}

func (f failure) Error() string        { return f.err.Error() }
func (f failure) Unwrap() error        { return f.err }
func (f failure) Is(target error) bool { return target == f.kind }

// Reason returns the word for a failure of Ensure.
func Reason(err error) string {
	for _, kind := range []error{ErrNeverPull, ErrInvalidName, ErrInspect} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return ErrPull.Error()
}

// Ensure returns the image of name, pulling it if the policy wants that. pulling is called before a pull begins.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, name string, policy corev1.PullPolicy, sandbox *runtimeapi.PodSandboxConfig, pulling func()) (Image, error) {
	if name == "" || strings.ContainsAny(name, " \t\n") || strings.ToLower(repository(name)) != repository(name) {
		return Image{}, failure{ErrInvalidName, fmt.Errorf("failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", name, name)}
	}
	spec := &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: name, Annotations: pod.Annotations}
	present, err := p.lookup(ctx, spec)
	if err != nil {
		return Image{}, failure{ErrInspect, fmt.Errorf("failed to inspect image %q: %w", name, err)}
	}
	if present != nil && effective(policy, name) != corev1.PullAlways {
		return *present, nil
	}
	if policy == corev1.PullNever {
		return Image{}, failure{ErrNeverPull, fmt.Errorf("container image %q is not present with pull policy of Never", name)}
	}
	pulling()
	began := time.Now()
	ref, err := p.pull(ctx, pod, spec, sandbox)
	if err != nil {
		return Image{}, failure{ErrPull, fmt.Errorf("failed to pull image %q: %w", name, err)}
	}
	fetched, err := p.lookup(ctx, &runtimeapi.ImageSpec{Image: ref, UserSpecifiedImage: name})
	if err != nil || fetched == nil {
		fetched = &Image{Ref: ref}
	}
	fetched.Pulled, fetched.Took = true, time.Since(began)
	return *fetched, nil
}

// effective is the policy with its default: a name whose tag moves is looked up each time.
func effective(policy corev1.PullPolicy, name string) corev1.PullPolicy {
	if policy != "" {
		return policy
	}
	last := name[strings.LastIndex(name, "/")+1:]
	if !strings.Contains(name, "@") && (!strings.Contains(last, ":") || strings.HasSuffix(last, ":latest")) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// repository is an image's name without its tag, its digest and the registry's host.
func repository(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if slash := strings.LastIndex(name, "/"); strings.LastIndex(name, ":") > slash {
		name = name[:strings.LastIndex(name, ":")]
	}
	if host, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return rest
	}
	return name
}

func (p *Puller) lookup(ctx context.Context, spec *runtimeapi.ImageSpec) (*Image, error) {
	response, err := p.Images.ImageStatus(ctx, spec, false)
	if err != nil {
		return nil, err
	}
	image := response.GetImage()
	if image == nil {
		return nil, nil
	}
	out := &Image{Ref: image.Id, Username: image.Username, Size: image.Size}
	if image.Uid != nil {
		out.UID = &image.Uid.Value
	}
	return out, nil
}

// pull joins a pull of the same image with the same credentials if there is one. It gives up with its own ctx, but a pull
// that others wait for goes on.
func (p *Puller) pull(ctx context.Context, pod *corev1.Pod, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	auths := p.credentials(ctx, pod, spec.Image)
	key := spec.Image
	if len(auths) > 0 {
		key += "\x00" + auths[0].Username + "\x00" + auths[0].Password
	}
	for {
		p.mu.Lock()
		if p.pulls == nil {
			p.pulls = map[string]*pull{}
		}
		current, ok := p.pulls[key]
		if !ok {
			current = &pull{done: make(chan struct{})}
			p.pulls[key] = current
		}
		p.mu.Unlock()
		if !ok {
			current.ref, current.err = p.tryAll(ctx, spec, auths, sandbox)
			p.mu.Lock()
			delete(p.pulls, key)
			p.mu.Unlock()
			close(current.done)
			return current.ref, current.err
		}
		select {
		case <-current.done:
			if current.err == nil || ctx.Err() != nil || !errors.Is(current.err, context.Canceled) {
				return current.ref, current.err
			}
			// Whoever pulled was cancelled; this one still wants it.
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (p *Puller) tryAll(ctx context.Context, spec *runtimeapi.ImageSpec, auths []*runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	if len(auths) == 0 {
		return p.Images.PullImage(ctx, spec, nil, sandbox)
	}
	var all []error
	for _, auth := range auths {
		ref, err := p.Images.PullImage(ctx, spec, auth, sandbox)
		if err == nil {
			return ref, nil
		}
		all = append(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return "", errkind.New(errkind.Unavailable, "%w", errors.Join(all...))
}
