package apiserver_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// kubectl runs the real program against a server.
type kubectl struct {
	t      *testing.T
	env    []string
	dir    string
	binary string
}

func newKubectl(t *testing.T, s *apiservertest.Server) *kubectl {
	t.Helper()
	binary, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	dir := t.TempDir()
	return &kubectl{t: t, dir: dir, binary: binary, env: append(os.Environ(),
		"KUBECONFIG="+s.Kubeconfig(t), "HOME="+dir, "KUBE_EDITOR=sed -i s/colour:.red/colour:\\ blue/", "no_proxy=*")}
}

func (k *kubectl) file(name, content string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), []byte(content), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// run returns what the command printed, and whether it succeeded.
func (k *kubectl) run(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", strings.ReplaceAll(line, "kubectl ", k.binary+" "))
	cmd.Env, cmd.Dir = k.env, k.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestKubectl: an unmodified kubectl finds all it needs. Each line is a command and what its output must contain; "!" before a
// command says that it must fail.
func TestKubectl(t *testing.T) {
	s := apiservertest.New(t)
	k := newKubectl(t, s)
	k.file("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: paint\ndata:\n  colour: red\n")
	k.file("map2.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: paint\ndata:\n  colour: green\n")
	k.file("wrong.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: wrong\ndota:\n  colour: red\n")
	k.file("deploy.yaml", deployYAML)
	for _, step := range []struct{ command, want string }{
		{"kubectl version", "Server Version: v1.37"},
		{"kubectl api-resources --no-headers -o name", "deployments.apps"},
		{"kubectl api-versions", "discovery.k8s.io/v1"},
		{"kubectl create configmap tea --from-literal=sort=assam", "configmap/tea created"},
		{"!kubectl create configmap tea", `configmaps "tea" already exists`},
		{"kubectl get configmap tea", "tea    1      "},
		{"kubectl get configmap tea -o wide", "NAME   DATA   AGE"},
		{"kubectl get configmap tea -o yaml", "sort: assam"},
		{"kubectl get configmap tea -o json", `"sort": "assam"`},
		{"kubectl get configmap tea -o name", "configmap/tea"},
		{"kubectl get configmap tea -o jsonpath={.data.sort}", "assam"},
		{"kubectl get configmap tea -o go-template={{.data.sort}}", "assam"},
		{"kubectl get configmap tea -o custom-columns=S:.data.sort", "assam"},
		{"kubectl get configmaps -A --sort-by=.metadata.name --chunk-size=1", "default     tea"},
		{"kubectl get configmaps,namespaces", "namespace/kube-system"},
		{"!kubectl get teapots", "the server doesn't have a resource type"},
		{"!kubectl get configmap none", `configmaps "none" not found`},
		{"kubectl apply -f map.yaml", "configmap/paint created"},
		{"kubectl apply -f map.yaml", "configmap/paint unchanged"},
		{"!kubectl diff -f map2.yaml", "+  colour: green"},
		{"kubectl apply -f map2.yaml --dry-run=server", "configmap/paint configured (server dry run)"},
		{"kubectl apply -f map2.yaml", "configmap/paint configured"},
		{"kubectl get configmap paint -o jsonpath={.data.colour}", "green"},
		{"kubectl apply --server-side -f map.yaml", "configmap/paint serverside-applied"},
		{"!kubectl apply --server-side --field-manager=other -f map2.yaml", "conflict with \"kubectl\": .data.colour"},
		{"kubectl apply --server-side --field-manager=other --force-conflicts -f map.yaml", "serverside-applied"},
		{"!kubectl apply -f wrong.yaml", `unknown field "dota"`},
		{"kubectl apply -f wrong.yaml --validate=warn", `Warning: unknown field "dota"`},
		{"kubectl edit configmap paint", "configmap/paint edited"},
		{"kubectl get configmap paint -o jsonpath={.data.colour}", "blue"},
		{`kubectl patch configmap paint -p '{"data":{"n":"1"}}'`, "patched"},
		{`kubectl patch configmap paint --type=merge -p '{"data":{"n":"1"}}'`, "patched (no change)"},
		{`kubectl patch configmap paint --type=json -p '[{"op":"remove","path":"/data/n"}]'`, "patched"},
		{"kubectl label configmap paint a=b", "labeled"},
		{"kubectl get configmaps -l a=b", "paint"},
		{"kubectl annotate configmap paint x=y", "annotated"},
		{"kubectl apply -f deploy.yaml", "deployment.apps/web created"},
		{"kubectl scale deployment web --replicas=3", "scaled"},
		{"kubectl get deployment web -o jsonpath={.spec.replicas}", "3"},
		{"kubectl get deployment web", "web    0/3 "},
		{"kubectl set image deployment/web web=nginx:2", "image updated"},
		{"kubectl get deployment web -o jsonpath={.metadata.generation}", "3"},
		{"!kubectl rollout status deployment/web --timeout=1s", "Waiting for deployment"},
		{"kubectl describe deployment web", "RollingUpdateStrategy:  25% max unavailable, 25% max surge"},
		{"kubectl explain pod.spec.containers.image", "Container image name."},
		{"kubectl explain deployments --recursive", "progressDeadlineSeconds"},
		{"kubectl run one --image=nginx", "pod/one created"},
		{"kubectl get pod one", "one    0/1     Pending"},
		{"kubectl get pods --field-selector=status.phase=Pending", "one"},
		{"kubectl describe pod one", "kube-api-access"},
		{"kubectl expose pod one --port=80", "service/one exposed"},
		{"kubectl create token default", "eyJ"},
		{"kubectl wait --for=jsonpath={.status.phase}=Pending pod/one --timeout=5s", "condition met"},
		{"kubectl delete pod one", `pod "one" deleted`},
		{"kubectl wait --for=delete pod/one --timeout=5s", ""},
		{"kubectl delete deployment web --cascade=foreground --wait=false", "deleted"},
		{"kubectl get deployment web -o jsonpath={.metadata.finalizers}", "foregroundDeletion"},
		{"kubectl delete configmap --all", `configmap "paint" deleted`},
		{"kubectl get configmaps", "No resources found"},
		{"kubectl get --raw=/readyz", "ok"},
		{"!kubectl delete namespace default", "this namespace may not be deleted"},
		{"!kubectl run two --image=nginx -n nowhere", `namespaces "nowhere" not found`},
	} {
		fails := strings.HasPrefix(step.command, "!")
		out, err := k.run(strings.TrimPrefix(step.command, "!"))
		if (err != nil) != fails || !strings.Contains(out, step.want) {
			t.Errorf("%s\nerror: %v\nwant in the output: %s\ngot: %s", step.command, err, step.want, out)
		}
	}
}

// TestKubectlWatch: what -w prints.
func TestKubectlWatch(t *testing.T) {
	s := apiservertest.New(t)
	k := newKubectl(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.binary, "get", "configmaps", "-w", "--output-watch-events")
	cmd.Env, cmd.Dir = k.env, k.dir
	out := &lines{seen: make(chan string, 16)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	for _, step := range []struct{ command, want string }{
		{"kubectl create configmap a", "ADDED"},
		{"kubectl label configmap a x=y", "MODIFIED"},
		{"kubectl delete configmap a", "DELETED"},
	} {
		if got, err := k.run(step.command); err != nil {
			t.Fatalf("%s: %v: %s", step.command, err, got)
		}
		for {
			var line string
			select {
			case line = <-out.seen:
			case <-ctx.Done():
				t.Fatalf("after %q: no line with %s", step.command, step.want)
			}
			if strings.HasPrefix(line, step.want) {
				break
			}
		}
	}
}

// lines splits what is written to it.
type lines struct {
	rest string
	seen chan string
}

func (l *lines) Write(data []byte) (int, error) {
	l.rest += string(data)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(data), nil
		}
		l.rest = rest
		l.seen <- line
	}
}

const deployYAML = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: web
        image: nginx
`
