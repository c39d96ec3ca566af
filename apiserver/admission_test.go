package apiserver_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// journal writes down which stage saw what of one namespace's ConfigMaps, pods and accounts.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) plugin(stage string) admission.Plugin {
	return admission.Plugin{
		Name: stage, On: []admission.Operation{admission.Create, admission.Update, admission.Delete, admission.Connect},
		Admit: func(_ context.Context, req *admission.Request) error {
			if req.Namespace != "seen" {
				return nil
			}
			j.note("%s %s %s", stage, req.Operation, seen(req))
			return nil
		},
	}
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was written since the last call.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return strings.Join(lines, "\n")
}

// seen says what a stage finds: the resource, the name, whether there are an old and a new object, and which phase a pod has.
func seen(req *admission.Request) string {
	what := strings.TrimSuffix(req.Kind.Resource+"/"+req.Subresource, "/") + " " + req.Name
	if strings.HasPrefix(req.Name, "gen-") {
		what = strings.TrimSuffix(req.Kind.Resource+"/"+req.Subresource, "/") + " gen-*"
	}
	if pod, ok := req.Object.(*corev1.Pod); ok {
		what += fmt.Sprintf(" phase=%q", pod.Status.Phase)
	}
	if req.Old != nil {
		what += " old"
	}
	if req.Body != nil {
		what += " " + req.Body.GetObjectKind().GroupVersionKind().Kind
	}
	if req.Reinvoked() {
		what += " again"
	}
	return what
}

// TestStages: each operation passes its stages in order; what the mutating stage does to a status does not survive the kind's preparation; a
// plugin that asks for it has the mutating stage run once more.
func TestStages(t *testing.T) {
	j := &journal{}
	again := true
	s := apiservertest.New(t, apiservertest.Options{Change: func(c *apiserver.Config) {
		c.Admission = func(p *admission.Pipeline) {
			mutate := j.plugin("mutate")
			plain := mutate.Admit
			mutate.Admit = func(ctx context.Context, req *admission.Request) error {
				if pod, ok := req.Object.(*corev1.Pod); ok && req.Operation == admission.Create {
					pod.Status.Phase = "Forged"
					if again {
						again = false
						req.Reinvoke()
					}
				}
				return plain(ctx, req)
			}
			p.Mutating = append(p.Mutating, mutate)
			p.Allocating = append(p.Allocating, j.plugin("allocate"))
			p.Validating = append(p.Validating, j.plugin("validate"))
		}
	}})
	c := client(t, s.Config).CoreV1()
	if _, err := c.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "seen"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ServiceAccounts("seen").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	j.take()
	now := int64(0)
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"create, with a second mutation", func() error {
			p := pod("a")
			p.Namespace, p.Spec.ServiceAccountName = "seen", "robot"
			_, err := c.Pods("seen").Create(ctx, p, metav1.CreateOptions{})
			return err
		}, `mutate CREATE pods a phase="Forged"
mutate CREATE pods a phase="Forged" again
allocate CREATE pods a phase="Pending"
validate CREATE pods a phase="Pending"`},
		{"create with a name of the server's", func() error {
			_, err := c.ConfigMaps("seen").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "gen-"}}, metav1.CreateOptions{})
			return err
		}, "mutate CREATE configmaps \nallocate CREATE configmaps gen-*\nvalidate CREATE configmaps gen-*"},
		{"patch", func() error {
			_, err := c.Pods("seen").Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{})
			return err
		}, `mutate UPDATE pods a phase="Pending" old
allocate UPDATE pods a phase="Pending" old
validate UPDATE pods a phase="Pending" old`},
		{"bind", func() error {
			return c.Pods("seen").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{})
		}, "mutate CREATE pods/binding a Binding\nvalidate CREATE pods/binding a Binding"},
		{"token", func() error {
			_, err := c.ServiceAccounts("seen").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		}, "mutate CREATE serviceaccounts/token robot TokenRequest\nvalidate CREATE serviceaccounts/token robot TokenRequest"},
		{"delete", func() error {
			return c.Pods("seen").Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &now})
		}, "mutate DELETE pods a old\nvalidate DELETE pods a old"},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, j.take()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

// TestStreamsAreAdmitted: exec passes admission with its options, and a refusal reaches the client before the node hears of it.
func TestStreamsAreAdmitted(t *testing.T) {
	var asked []string
	s := withNode(t, func(c *apiserver.Config) {
		c.Admission = func(p *admission.Pipeline) {
			p.Validating = append(p.Validating, admission.Plugin{Name: "NoStreams", On: []admission.Operation{admission.Connect},
				Admit: func(_ context.Context, req *admission.Request) error {
					asked = append(asked, fmt.Sprintf("%s %+v", req.Subresource, req.Body))
					return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf("no streams here"))
				}})
		}
	})
	streams := client(t, s.Config).CoreV1().RESTClient()
	for path, want := range map[string]string{
		"exec?command=ls&command=-l&container=c&stdout=true&tty=x": `&PodExecOptions{Stdin:false,Stdout:true,Stderr:false,TTY:false,Container:c,Command:[ls -l],}`,
		"attach?stdin=1":               `&PodAttachOptions{Stdin:true,Stdout:false,Stderr:false,TTY:false,Container:,}`,
		"portforward?ports=80&ports=x": `&PodPortForwardOptions{Ports:[80],}`,
	} {
		asked = nil
		err := streams.Post().RequestURI("/api/v1/namespaces/default/pods/a/" + path).Do(ctx).Error()
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "no streams here") {
			t.Errorf("%s: %v, want forbidden", path, err)
		}
		if len(asked) != 1 || !strings.HasSuffix(asked[0], want) {
			t.Errorf("%s: admission saw %q, want %s", path, asked, want)
		}
	}
	if _, err := client(t, s.Config).CoreV1().Pods("default").GetLogs("a", &corev1.PodLogOptions{}).DoRaw(ctx); err != nil {
		t.Errorf("a log is no connection: %v", err)
	}
}

// TestUpdateOfWhatIsGoing: a put that leaves the deletion out does not end it, and removing the last finalizer by a put removes the object.
func TestUpdateOfWhatIsGoing(t *testing.T) {
	s := apiservertest.New(t)
	maps := client(t, s.Config).CoreV1().ConfigMaps("default")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"acme.com/hold"}}}
	if _, err := maps.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	held.Data = map[string]string{"a": "b"}
	got, err := maps.Update(ctx, held, metav1.UpdateOptions{})
	if err != nil || got.DeletionTimestamp == nil || got.DeletionGracePeriodSeconds == nil || got.Data["a"] != "b" {
		t.Fatalf("a put without the deletion: %v, %+v", err, got)
	}
	held.Finalizers = nil
	if _, err := maps.Update(ctx, held, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("a put without the finalizer: %v", err)
	}
	if _, err := maps.Get(ctx, "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v, want not found", err)
	}
}

// TestDoubleOwners: the same owner twice is kept once, and the client hears of it.
func TestDoubleOwners(t *testing.T) {
	s := apiservertest.New(t)
	config, heard := warned(s.Config)
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "1"}
	other := owner
	other.UID = "2"
	made, err := client(t, config).CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{owner, other, owner}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]metav1.OwnerReference{owner, other}, made.OwnerReferences); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := heard(); len(got) != 1 || !strings.Contains(got[0], "duplicate UID(s) observed: 1") {
		t.Errorf("warnings: %q", got)
	}
}

// warnings collects what a server warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// warned returns a copy of the configuration whose warnings are collected, and what has been collected so far.
func warned(config *rest.Config) (*rest.Config, func() []string) {
	w := &warnings{}
	out := rest.CopyConfig(config)
	out.WarningHandler = w
	return out, func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.texts
	}
}
