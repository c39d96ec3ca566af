package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const web = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'echo page > /tmp/index.html; echo started; exec httpd -f -p 8080 -h /tmp']
        ports: [{containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// TestKubectl uses an unmodified kubectl as people do, on a node with real containers.
func TestKubectl(t *testing.T) {
	n := newNode(t)
	n.busybox()
	file := n.write("web.yaml", web)
	steps := []struct {
		name string
		run  func(*testing.T, *node, string)
	}{
		{"ApplyAndRollout", applyAndRollout},
		{"OutputForms", outputForms},
		{"WatchAndWait", watchAndWait},
		{"DescribeAndExplain", describeAndExplain},
		{"ServiceAnswers", serviceAnswers},
		{"DiffEditPatchLabelScale", changes},
		{"ServerSideApply", serverSide},
		{"RolloutUndo", rolloutUndo},
		{"LogsExecCp", logsExecCp},
		{"PortForward", portForward},
		{"Delete", deleteAll},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			inner := *n
			inner.t = t
			step.run(t, &inner, file)
		})
	}
}

func wants(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s: got\n%s\nwant a match of %s", what, got, pattern)
	}
}

func applyAndRollout(t *testing.T, n *node, file string) {
	wants(t, "apply", n.kubectl("apply", "-f", file), `deployment.apps/web created\s+service/web created`)
	wants(t, "rollout status", n.kubectl("rollout", "status", "deployment/web", "--timeout=60s"), `successfully rolled out`)
	wants(t, "apply again", n.kubectl("apply", "-f", file), `deployment.apps/web unchanged\s+service/web unchanged`)
}

func outputForms(t *testing.T, n *node, _ string) {
	wants(t, "get", n.kubectl("get", "deploy", "web"), `NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +2/2 +2 +2 `)
	wants(t, "wide", n.kubectl("get", "pods", "-o", "wide", "-l", "app=web"), `NAME +READY +STATUS +RESTARTS +AGE +IP +NODE`)
	wants(t, "yaml", n.kubectl("get", "svc", "web", "-o", "yaml"), `(?s)apiVersion: v1\nkind: Service.*clusterIP: 10\.`)
	wants(t, "json", n.kubectl("get", "svc", "web", "-o", "json"), `"kind": "Service"`)
	wants(t, "name", n.kubectl("get", "rs", "-l", "app=web", "-o", "name"), `^replicaset.apps/web-[a-z0-9]+\n$`)
	wants(t, "jsonpath", n.kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"), `^2$`)
	wants(t, "go-template", n.kubectl("get", "deploy", "web", "-o", "go-template={{.metadata.name}}"), `^web$`)
	wants(t, "custom-columns", n.kubectl("get", "deploy", "-o", "custom-columns=N:.metadata.name"), `N\nweb\n`)
	wants(t, "all namespaces", n.kubectl("get", "pods", "-A"), `default +web-`)
	wants(t, "api-resources", n.kubectl("api-resources"), `deployments +deploy +apps/v1 +true +Deployment`)
}

func watchAndWait(t *testing.T, n *node, _ string) {
	w := start(t, n.kubectlCommand("get", "configmaps", "-w", "--output-watch-events"))
	n.eventually(func() error { return contains(w.out.String(), "kube-root-ca.crt") })
	n.kubectl("create", "configmap", "seen", "--from-literal=a=b")
	n.eventually(func() error { return contains(w.out.String(), "ADDED      seen") })
	n.kubectl("delete", "configmap", "seen")
	n.eventually(func() error { return contains(w.out.String(), "DELETED    seen") })
	wants(t, "wait", n.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s"), `condition met`)
}

func describeAndExplain(t *testing.T, n *node, _ string) {
	wants(t, "describe", n.kubectl("describe", "pod", "-l", "app=web"), `(?s)Status: +Running.*Scheduled .*Successfully assigned.*Started`)
	wants(t, "describe node", n.kubectl("describe", "node"), `(?s)Ready +True.*Allocated resources`)
	wants(t, "explain", n.kubectl("explain", "deployment.spec.strategy"), `(?s)GROUP: +apps.*rollingUpdate`)
}

// pod returns the name of one running pod of the Deployment.
// pod is one of the pods of app web that is to stay: one that is on its way out runs on for a while, too.
func (n *node) pod() string {
	n.t.Helper()
	names := n.kubectl("get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o",
		`go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}`)
	name, _, _ := strings.Cut(names, " ")
	return name
}

func serviceAnswers(t *testing.T, n *node, _ string) {
	ip := n.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
	if got := n.inside("curl", "-sS", "--max-time", "5", "http://"+ip+"/"); got != "page\n" {
		t.Errorf("from the node: got %q", got)
	}
	if got := n.kubectl("exec", n.pod(), "--", "wget", "-q", "-O", "-", "http://web/"); got != "page\n" {
		t.Errorf("by name, from a pod: got %q", got)
	}
	began := time.Now()
	out, err := exec.Command("nsenter", "--net=/run/netns/"+n.netns, "--", "curl", "-sS", "--max-time", "5", "http://10.43.77.77/").CombinedOutput()
	if err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("an address nobody holds: got %s after %s, want a refusal at once", out, time.Since(began))
	}
}

func changes(t *testing.T, n *node, file string) {
	changed := n.write("changed.yaml", strings.Replace(web, "replicas: 2", "replicas: 3", 1))
	out, err := n.tryKubectl("diff", "-f", changed)
	if exit := (*exec.ExitError)(nil); err == nil || !asExit(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("diff: got %v, want exit code 1", err)
	}
	wants(t, "diff", out, `(?m)^\+  replicas: 3`)
	edit := n.kubectlCommand("edit", "deployment", "web")
	editor := n.write("editor", "#!/bin/sh\nsed -i 's/^  replicas: 2/  replicas: 1/' \"$1\"\n")
	if err := os.Chmod(editor, 0o755); err != nil {
		t.Fatal(err)
	}
	edit.Env = append(edit.Env, "EDITOR="+editor)
	if out, err := edit.CombinedOutput(); err != nil {
		t.Errorf("edit: %v\n%s", err, out)
	}
	wants(t, "after edit", n.kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"), `^1$`)
	n.kubectl("patch", "deployment", "web", "-p", `{"spec":{"minReadySeconds":1}}`)
	n.kubectl("patch", "deployment", "web", "--type=merge", "-p", `{"metadata":{"annotations":{"a":"b"}}}`)
	n.kubectl("patch", "deployment", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/minReadySeconds","value":0}]`)
	n.kubectl("label", "deployment", "web", "tier=front")
	wants(t, "label", n.kubectl("get", "deploy", "-l", "tier=front", "-o", "name"), `deployment.apps/web`)
	wants(t, "scale", n.kubectl("scale", "deployment", "web", "--replicas=2"), `scaled`)
	n.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	wants(t, "apply back", n.kubectl("apply", "-f", file), `deployment.apps/web configured|unchanged`)
}

func serverSide(t *testing.T, n *node, _ string) {
	cm := func(value string) string {
		return n.write("cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {k: "+value+"}\n")
	}
	wants(t, "apply", n.kubectl("apply", "--server-side", "-f", cm("one")), `serverside-applied`)
	out, err := n.tryKubectl("apply", "--server-side", "--field-manager=other", "-f", cm("two"))
	if err == nil {
		t.Error("another manager took a field without force")
	}
	wants(t, "conflict", out, `conflict with "kubectl": \.data\.k`)
	wants(t, "force", n.kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", cm("two")), `serverside-applied`)
	wants(t, "dry run", n.kubectl("apply", "--server-side", "--field-manager=other", "--dry-run=server", "-f", cm("three")), `server dry run`)
	wants(t, "value", n.kubectl("get", "cm", "ssa", "-o", "jsonpath={.data.k}"), `^two$`)
}

func rolloutUndo(t *testing.T, n *node, _ string) {
	n.kubectl("set", "env", "deployment/web", "COLOR=green")
	n.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	wants(t, "history", n.kubectl("rollout", "history", "deployment/web"), `(?s)REVISION.*1 .*2 `)
	n.kubectl("rollout", "undo", "deployment/web")
	n.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	wants(t, "after undo", n.kubectl("get", "deploy", "web", "-o", "jsonpath=[{.spec.template.spec.containers[0].env}]"), `^\[\]$`)
}

func logsExecCp(t *testing.T, n *node, _ string) {
	pod := n.pod()
	wants(t, "logs", n.kubectl("logs", pod), `^started\n$`)
	f := start(t, n.kubectlCommand("logs", "-f", "--timestamps", pod))
	n.eventually(func() error { return contains(f.out.String(), "Z started") })
	wants(t, "exec", n.kubectl("exec", pod, "--", "sh", "-c", "echo $((6*7)); exit 0"), `^42\n$`)
	out, err := n.tryKubectl("exec", pod, "--", "sh", "-c", "exit 7")
	if exit := (*exec.ExitError)(nil); err == nil || !asExit(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exec of exit 7: got %v\n%s", err, out)
	}
	stdin := n.kubectlCommand("exec", "-i", pod, "--", "wc", "-c")
	stdin.Stdin = strings.NewReader(strings.Repeat("x", 100000))
	if out, err := stdin.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "100000" {
		t.Errorf("exec -i of 100000 bytes: got %s, %v", out, err)
	}
	if _, err := exec.LookPath("script"); err == nil {
		k := n.kubectlCommand("exec", "-it", pod, "--", "sh", "-c", "tty; stty size")
		tty := exec.Command("script", "-qec", strings.Join(k.Args, " "), "/dev/null")
		tty.Env = k.Env
		tty.Stdin = strings.NewReader("")
		out, err := tty.CombinedOutput()
		if err != nil {
			t.Errorf("exec -it: %v", err)
		}
		wants(t, "exec -it", string(out), `/dev/(pts|console)`)
	}
	local := n.write("local.txt", "carried\n")
	n.kubectl("cp", local, pod+":/tmp/there.txt")
	back := filepath.Join(n.dir, "back.txt")
	n.kubectl("cp", pod+":/tmp/there.txt", back)
	if got, err := os.ReadFile(back); err != nil || string(got) != "carried\n" {
		t.Errorf("cp there and back: got %q, %v", got, err)
	}
}

func portForward(t *testing.T, n *node, _ string) {
	f := start(t, n.kubectlCommand("port-forward", n.pod(), "18080:8080"))
	n.eventually(func() error { return contains(f.out.String(), "Forwarding from") })
	for range 3 {
		if got := n.inside("curl", "-sS", "--max-time", "5", "http://127.0.0.1:18080/"); got != "page\n" {
			t.Errorf("through port-forward: got %q", got)
		}
	}
}

func deleteAll(t *testing.T, n *node, file string) {
	n.kubectl("delete", "-f", file, "--timeout=60s")
	n.eventually(func() error {
		if out := n.kubectl("get", "pods,rs,deploy", "-o", "name"); strings.TrimSpace(out) != "" {
			return fmt.Errorf("left: %s", out)
		}
		return nil
	})
	n.kubectl("create", "namespace", "gone")
	n.kubectl("-n", "gone", "create", "configmap", "x")
	n.kubectl("delete", "namespace", "gone", "--timeout=60s")
	if out, err := n.tryKubectl("get", "namespace", "gone"); err == nil || !strings.Contains(out, "NotFound") {
		t.Errorf("get of a deleted namespace: %s", out)
	}
}
