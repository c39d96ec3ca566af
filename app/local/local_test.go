package local_test

import (
	"context"
	"log/slog"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/app/local"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
	"github.com/cuppa-project/cuppa/kube/remote"
)

// run lets a part live until the test ends.
func run(t *testing.T, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestLocal(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{Bare: true})
	c := local.New(server.Server, authn.User{Name: "admin", Groups: []string{"system:masters"}}, slog.New(slog.DiscardHandler))
	t.Cleanup(c.Wait)
	kubetest.Run(t, c)
}

func TestRemote(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{Bare: true})
	c, err := remote.New(remote.Config{REST: server.Config})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	kubetest.Run(t, c)
}

func TestRemoteOfOneNode(t *testing.T) {
	server := apiservertest.New(t, apiservertest.Options{Bare: true})
	whole := local.New(server.Server, authn.User{Name: "admin", Groups: []string{"system:masters"}}, slog.New(slog.DiscardHandler))
	t.Cleanup(whole.Wait)
	c, err := remote.New(remote.Config{REST: server.Config, Selectors: map[schema.GroupVersionResource]fields.Selector{
		kube.Pods: fields.OneTermEqualSelector("spec.nodeName", "n1")}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	kubetest.RunSelected(t, c, whole)
}
