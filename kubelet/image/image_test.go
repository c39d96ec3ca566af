package image_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/image"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
)

type secrets map[string]*corev1.Secret

func (s secrets) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if secret, ok := s[name]; ok {
		return secret, nil
	}
	return nil, errkind.New(errkind.NotFound, "secret %q not found", name)
}

func pod() *corev1.Pod { return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}} }

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		image  string
		policy corev1.PullPolicy
		pulls  bool
		fails  error
	}{
		{"here:1", "", false, nil},
		{"here:1", corev1.PullIfNotPresent, false, nil},
		{"here:1", corev1.PullAlways, true, nil},
		{"here:1", corev1.PullNever, false, nil},
		{"here:latest", "", true, nil},
		{"there:1", corev1.PullIfNotPresent, true, nil},
		{"there:1", corev1.PullNever, false, image.ErrNeverPull},
		{"nowhere:1", "", true, image.ErrPull},
		{"Bad Name", "", false, image.ErrInvalidName},
		{"UPPER", "", false, image.ErrInvalidName},
	} {
		t.Run(c.image+" "+string(c.policy), func(t *testing.T) {
			runtime := kubelettest.NewRuntime("here:1", "here:latest")
			for _, name := range []string{"here:1", "here:latest", "there:1"} {
				runtime.Offer(name)
			}
			puller := &image.Puller{Images: runtime, Source: secrets{}}
			pulled := false
			img, err := puller.Ensure(t.Context(), pod(), c.image, c.policy, nil, func() { pulled = true })
			if !errors.Is(err, c.fails) || pulled != c.pulls {
				t.Errorf("pulled %t, error %v; want %t, %v", pulled, err, c.pulls, c.fails)
			}
			if err == nil && img.Ref != "sha256:"+c.image {
				t.Errorf("image %+v", img)
			}
			if c.fails != nil && image.Reason(err) != c.fails.Error() {
				t.Errorf("reason %q, want %q", image.Reason(err), c.fails)
			}
		})
	}
}

func TestOnePullServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := kubelettest.NewRuntime()
		runtime.Offer("big:1")
		runtime.SlowPulls(time.Minute)
		puller := &image.Puller{Images: runtime, Source: secrets{}}
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if _, err := puller.Ensure(t.Context(), pod(), "big:1", "", nil, func() {}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if pulls := runtime.Log(); len(pulls) != 1 {
			t.Errorf("pulls: %v", pulls)
		}
	})
}

// TestAPullOutlivesTheOneWhoBeganIt: when the pod that began a pull is deleted, others that wait get their image all the same.
func TestAPullOutlivesTheOneWhoBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := kubelettest.NewRuntime()
		runtime.Offer("big:1")
		runtime.SlowPulls(time.Minute)
		puller := &image.Puller{Images: runtime, Source: secrets{}}
		first, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { _, _ = puller.Ensure(first, pod(), "big:1", "", nil, func() {}) })
		synctest.Wait()
		wait.Go(func() {
			if _, err := puller.Ensure(t.Context(), pod(), "big:1", "", nil, func() {}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		wait.Wait()
	})
}

func dockerConfig(server, user, password string) *corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + server + `":{"auth":"` + auth + `"}}}`)}}
}

func TestCredentials(t *testing.T) {
	source := secrets{
		"hub":  dockerConfig("https://index.docker.io/v1/", "hubuser", "x"),
		"team": dockerConfig("registry.example.org:5000/team", "teamuser", "x"),
		"any":  dockerConfig("*.example.org:5000", "anyuser", "x"),
		"bad":  {Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{")}},
	}
	for name, want := range map[string]string{
		"redis:7":                                  "hubuser",
		"library/redis:7":                          "hubuser",
		"registry.example.org:5000/team/app:1":     "teamuser anyuser",
		"registry.example.org:5000/teamwork/app:1": "anyuser",
		"registry.example.org/team/app:1":          "",
		"ghcr.io/x/y":                              "",
	} {
		t.Run(name, func(t *testing.T) {
			runtime := kubelettest.NewRuntime()
			p := pod()
			for _, secret := range []string{"hub", "team", "any", "bad", "missing"} {
				p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
			}
			_, err := (&image.Puller{Images: runtime, Source: source}).Ensure(t.Context(), p, name, "", nil, func() {})
			if err == nil {
				t.Error("an image that no registry has was pulled")
			}
			var users []string
			for _, line := range runtime.Log() {
				if user := strings.Trim(line[strings.Index(line, "user=")+5:], `"`); user != "" {
					users = append(users, user)
				}
			}
			if got := strings.Join(slices.Compact(users), " "); got != want {
				t.Errorf("tried as %q, want %q", got, want)
			}
		})
	}
}
