package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asking uses what Kubernetes has no fields for, and each container says what it got.
const asking = `services:
  all:
    image: busybox
    user: nobody
    init: true
    shm_size: 32m
    stop_signal: USR1
    pids_limit: 40
    devices: ["/dev/null:/dev/nothing:rw"]
    ulimits: {nofile: {soft: 333, hard: 444}, core: 0}
    command:
    - sh
    - -c
    - |
      echo user $$(id -u), first process $$(cat /proc/1/comm)
      echo ulimit $$(ulimit -S -n) $$(ulimit -H -n)
      echo shm $$(df -k /dev/shm | tail -n 1 | awk '{print $$2}')
      echo x > /dev/nothing && echo device works
      trap 'echo got USR1; exit 0' USR1
      echo ready
      while :; do sleep 0.1; done
`

// attack is a pod by which somebody who is not Compose would get the node's memory and its root.
const attack = `apiVersion: v1
kind: Pod
metadata:
  name: attack
  annotations:
    engine.cuppa.dev/extras: '{"version":"v1","containers":{"c":{"user":"root","devices":[{"host":"/dev/mem","path":"/dev/mem","access":"rwm"}]}}}'
spec:
  securityContext: {runAsUser: 1000}
  containers: [{name: c, image: busybox, imagePullPolicy: Never, command: [sleep, "1000"]}]
`

// TestExtras holds that what only the engine understands acts when Compose asks for it, and is refused from everybody else.
func TestExtras(t *testing.T) {
	n := newNode(t)
	n.busybox()
	n.write("shop/compose.yaml", asking)
	shop := filepath.Join(n.dir, "shop")
	n.cuppaAt(shop, "up", "-d")
	n.eventually(func() error {
		out := n.cuppaAt(shop, "logs", "--no-log-prefix", "all")
		for _, want := range []string{"user 65534, first process", "ulimit 333 444", "shm 32768", "device works", "ready"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("the log is\n%swant %q in it", out, want)
			}
		}
		if strings.Contains(out, "first process sh\n") {
			return fmt.Errorf("no reaper runs as the first process:\n%s", out)
		}
		return nil
	})
	t.Run("Attack", func(t *testing.T) {
		out, err := n.tryKubectl("apply", "-f", n.write("attack.yaml", attack))
		want := `pods "attack" is forbidden: metadata.annotations[engine.cuppa.dev/extras]: user "admin" may not set what a pod asks of its node's engine (container "c": user, devices)`
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("the attack: %v\n%swant %s", err, out, want)
		}
		// The same by the annotations of earlier versions.
		old := strings.ReplaceAll(attack, "engine.cuppa.dev/extras: ", "engine.cuppa.dev/devices: ")
		if out, err := n.tryKubectl("apply", "-f", n.write("old.yaml", old)); err == nil || !strings.Contains(out, "is forbidden: metadata.annotations[engine.cuppa.dev/devices]") {
			t.Errorf("the old attack: %v\n%s", err, out)
		}
		// And by way of what runs.
		for _, args := range [][]string{
			{"annotate", "--overwrite", "-n", "shop", "pods", "--all", `engine.cuppa.dev/extras={"version":"v1"}`},
			{"annotate", "-n", "shop", "pods", "--all", "engine.cuppa.dev/extras-"},
			{"patch", "-n", "shop", "deployment", "all", "-p", `{"spec":{"template":{"metadata":{"annotations":{"engine.cuppa.dev/extras":"{\"version\":\"v1\"}"}}}}}`},
			{"get", "pods", "--as=me", "--as-group=cuppa:compose"},
		} {
			if out, err := n.tryKubectl(args...); err == nil || !strings.Contains(out, "forbidden") {
				t.Errorf("kubectl %s: %v\n%swant forbidden", strings.Join(args, " "), err, out)
			}
		}
	})
	t.Run("OthersWork", func(t *testing.T) {
		n.kubectl("scale", "-n", "shop", "deployment/all", "--replicas=2")
		n.kubectl("rollout", "status", "-n", "shop", "deployment/all", "--timeout=30s")
		n.kubectl("rollout", "restart", "-n", "shop", "deployment/all")
		n.kubectl("rollout", "status", "-n", "shop", "deployment/all", "--timeout=60s")
	})
	t.Run("Identity", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(n.run, "compose.kubeconfig"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("Compose's kubeconfig: %v, %v; want mode 600", info, err)
		}
	})
	n.cuppaAt(shop, "down", "-t", "3")
}
