package volume

import (
	"context"
	"errors"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
)

// file is one file of a volume that mirrors the API.
type file struct {
	data []byte
	mode int32
	uid  *int64
}

// mirror is the driver of volumes that show what is in the API.
type mirror struct {
	unstaged
	keeper *Keeper
}

func newMirror(k *Keeper) Driver { return mirror{keeper: k} }

// Publish brings the files up to date, all at once, and returns when the tokens among them are due again.
func (m mirror) Publish(ctx context.Context, v Request) (time.Time, error) {
	b := builder{keeper: m.keeper, pod: v.Pod, facts: v.Facts, files: map[string]file{}}
	if err := b.volume(ctx, v.Spec); err != nil {
		return time.Time{}, err
	}
	return b.due, publish(v.Path, b.files, fsGroup(v.Pod), m.keeper.step)
}

func (m mirror) Unpublish(_ context.Context, r Record) error { return m.keeper.clear(r.Path) }

func (mirror) Usage(_ context.Context, r Record) (mount.Used, error) { return mount.Usage(r.Path) }

type builder struct {
	keeper *Keeper
	pod    *corev1.Pod
	facts  environ.Facts
	files  map[string]file
	due    time.Time
}

const defaultMode = 0o644

func modeOf(item, whole *int32) int32 {
	switch {
	case item != nil:
		return *item
	case whole != nil:
		return *whole
	default:
		return defaultMode
	}
}

func (b *builder) volume(ctx context.Context, v *corev1.Volume) error {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return b.configMap(ctx, s.Name, s.Items, s.DefaultMode, s.Optional)
	case v.Secret != nil:
		s := v.Secret
		return b.secret(ctx, s.SecretName, s.Items, s.DefaultMode, s.Optional)
	case v.DownwardAPI != nil:
		return b.downward(v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	default:
		for i := range v.Projected.Sources {
			if err := b.projection(ctx, &v.Projected.Sources[i], v.Projected.DefaultMode); err != nil {
				return err
			}
		}
		return nil
	}
}

func (b *builder) projection(ctx context.Context, s *corev1.VolumeProjection, mode *int32) error {
	switch {
	case s.ConfigMap != nil:
		return b.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return b.secret(ctx, s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return b.downward(s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return b.token(ctx, s.ServiceAccountToken, mode)
	default:
		return errkind.New(errkind.Invalid, "this kind of projected source is not supported on this node")
	}
}

func (b *builder) configMap(ctx context.Context, name string, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	object, err := b.keeper.Source.ConfigMap(ctx, b.pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	data := make(map[string][]byte, len(object.Data)+len(object.BinaryData))
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return b.keys("configmap", name, data, items, mode, optional)
}

func (b *builder) secret(ctx context.Context, name string, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	object, err := b.keeper.Source.Secret(ctx, b.pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	return b.keys("secret", name, object.Data, items, mode, optional)
}

func unlessOptional(err error, optional *bool) error {
	if optional != nil && *optional && errors.Is(err, errkind.NotFound) {
		return nil
	}
	return err
}

func (b *builder) keys(kind, name string, data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			b.files[key] = file{data: value, mode: modeOf(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			err := errkind.New(errkind.NotFound, "%s %q references non-existent key: %s", kind, name, item.Key)
			if err := unlessOptional(err, optional); err != nil {
				return err
			}
			continue
		}
		b.files[path.Clean(item.Path)] = file{data: value, mode: modeOf(item.Mode, mode)}
	}
	return nil
}

func (b *builder) downward(items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = b.facts.Field(b.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			text, err = b.facts.Resource(b.pod, nil, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		b.files[path.Clean(item.Path)] = file{data: []byte(text), mode: modeOf(item.Mode, mode)}
	}
	return nil
}

func (b *builder) token(ctx context.Context, s *corev1.ServiceAccountTokenProjection, mode *int32) error {
	lifetime := time.Hour
	if s.ExpirationSeconds != nil {
		lifetime = time.Duration(*s.ExpirationSeconds) * time.Second
	}
	value, due, err := b.keeper.token(ctx, b.pod, s.Audience, lifetime)
	if err != nil {
		return err
	}
	b.due = sooner(b.due, due)
	f := file{data: []byte(value), mode: modeOf(nil, mode)}
	// A token is a password: it is readable by the pod's users only, when it is known who they are.
	if fsGroup(b.pod) != nil {
		f.mode = 0o600
	} else if uid := soleUser(b.pod); uid != nil {
		f.mode, f.uid = 0o600, uid
	}
	b.files[path.Clean(s.Path)] = f
	return nil
}

// soleUser is the user that every container of a pod runs as, if the spec says so.
func soleUser(pod *corev1.Pod) *int64 {
	var sole *int64
	check := func(containers []corev1.Container) bool {
		for i := range containers {
			uid := (*int64)(nil)
			if pod.Spec.SecurityContext != nil {
				uid = pod.Spec.SecurityContext.RunAsUser
			}
			if c := containers[i].SecurityContext; c != nil && c.RunAsUser != nil {
				uid = c.RunAsUser
			}
			if uid == nil || sole != nil && *sole != *uid {
				return false
			}
			sole = uid
		}
		return true
	}
	if !check(pod.Spec.InitContainers) || !check(pod.Spec.Containers) {
		return nil
	}
	return sole
}
