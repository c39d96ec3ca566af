package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// How much the node group does.
const (
	nodeStarts  = 3
	podRuns     = 20
	podsAtOnce  = 50
	podsRuns    = 3
	rolloutRuns = 5
	rolloutSize = 10
	settle      = 5 * time.Second
	idleTime    = 10 * time.Second
	nodeTimeout = 30 * time.Second // for one measurement
)

// worker is a node under load.
type worker struct {
	*target
	*machine
}

// nodeGroup measures one whole node.
func nodeGroup(ctx context.Context, b *bench) error {
	return b.withMachine(ctx, func(ctx context.Context, m *machine) error {
		image := filepath.Join(m.dir, "busybox.tar")
		if err := writeBusybox(image); err != nil {
			return err
		}
		b.step("idle-memory idle-cpu", func() error { return m.idle(ctx, b) })
		b.step("ready", func() error { return m.fromNothing(ctx, b, image) })
		// The node of the last start goes on.
		if err := m.ensureNode(ctx, image); err != nil {
			return err
		}
		c, err := connect(m.kubeconfig(), m.dial, connections)
		if err != nil {
			return err
		}
		defer c.close()
		w := &worker{&target{client: c, results: b.results, namespace: b.namespace}, m}
		if err := w.makeNamespace(ctx); err != nil {
			return err
		}
		b.step("pod", func() error { return w.onePods(ctx) })
		b.step("pods", func() error { return w.manyPods(ctx) })
		b.step("rollout", func() error { return w.rollouts(ctx) })
		b.step("refused", func() error { return w.refused(ctx) })
		b.step("service dns", func() error { return w.services(ctx) })
		return nil
	})
}

// ensureNode starts the node if no measurement has left one running, and makes sure that it has the image.
func (m *machine) ensureNode(ctx context.Context, image string) error {
	if _, err := m.command(ctx, m.dir, "server", "status"); err != nil {
		if _, err := m.startNode(ctx); err != nil {
			return err
		}
	}
	_, err := m.command(ctx, m.dir, "image", "load", "-i", image)
	return err
}

// idle measures a node that has nothing to do.
func (m *machine) idle(ctx context.Context, b *bench) error {
	if _, err := m.startNode(ctx); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	pids, err := m.pids()
	if err != nil {
		return err
	}
	resident, anonymous, err := memory(pids)
	if err != nil {
		return err
	}
	b.put("idle-memory", resident, anonymous)
	before, err := cpuTime(pids)
	if err != nil {
		return err
	}
	if err := pause(ctx, idleTime); err != nil {
		return err
	}
	after, err := cpuTime(pids)
	if err != nil {
		return err
	}
	b.put("idle-cpu", 100*(after-before).Seconds()/idleTime.Seconds())
	return nil
}

// fromNothing starts a node on an empty machine until its DNS answers and its first pod runs, several times. The last one is left running.
func (m *machine) fromNothing(ctx context.Context, b *bench, image string) error {
	var total, ready, answers, pod []time.Duration
	for range nodeStarts {
		if _, err := os.Stat(m.run()); err == nil {
			if err := m.stopNode(ctx); err != nil {
				return err
			}
		}
		started, err := m.startNode(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := m.firstAnswer(ctx); err != nil {
			return err
		}
		answered := time.Since(began)
		if _, err := m.command(ctx, m.dir, "image", "load", "-i", image); err != nil {
			return err
		}
		running, err := m.firstPod(ctx, b)
		if err != nil {
			return err
		}
		ready, answers, pod = append(ready, started), append(answers, answered), append(pod, running)
		total = append(total, started+answered+running)
	}
	middle := func(all []time.Duration) float64 { return quantile(all, 0.5).Seconds() }
	b.put("ready", middle(total), middle(ready), middle(answers), middle(pod))
	return nil
}

func (m *machine) firstPod(ctx context.Context, b *bench) (time.Duration, error) {
	c, err := connect(m.kubeconfig(), m.dial, 1)
	if err != nil {
		return 0, err
	}
	defer c.close()
	began := time.Now()
	w := &worker{&target{client: c, results: b.results, namespace: "default"}, m}
	if _, err := w.runPods(ctx, "first", 1); err != nil {
		return 0, err
	}
	return time.Since(began), w.goneAll(ctx)
}

// sleeper is a pod that does nothing, quickly.
func sleeper(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "sleeper"}}, Spec: sleeperSpec()}
}

func sleeperSpec() corev1.PodSpec {
	return corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
		Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "100000"}}}}
}

// runPods creates pods all at once and returns how long it took until a watcher had seen each of them Running.
func (w *worker) runPods(ctx context.Context, prefix string, count int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	seen, err := w.watchPods(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer seen.Stop()
	began := time.Now()
	created := make(chan error, 1)
	go func() {
		_, err := hammer(ctx, count, count, nodeTimeout, func(ctx context.Context, i int) error {
			_, err := w.CoreV1().Pods(w.namespace).Create(ctx, sleeper(fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
			return err
		})
		if err != nil {
			cancel()
		}
		created <- err
	}()
	running := map[string]bool{}
	err = eachPod(ctx, seen, func(_ watch.EventType, pod *corev1.Pod) bool {
		if pod.Status.Phase == corev1.PodRunning {
			running[pod.Name] = true
		}
		return len(running) == count
	})
	took := time.Since(began)
	return took, errors.Join(<-created, err)
}

// eachPod shows a watch's events until it is told that this was enough.
func eachPod(ctx context.Context, seen watch.Interface, enough func(watch.EventType, *corev1.Pod) bool) error {
	for {
		select {
		case event, ok := <-seen.ResultChan():
			if !ok {
				return errors.Join(errWatchEnded, ctx.Err())
			}
			if pod, ok := event.Object.(*corev1.Pod); ok && enough(event.Type, pod) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for pods: %w", ctx.Err())
		}
	}
}

// goneAll deletes all pods of the namespace and waits until none is left.
func (w *worker) goneAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	pods := w.CoreV1().Pods(w.namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	seen, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer seen.Stop()
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil || len(list.Items) == 0 {
		return err
	}
	left := len(list.Items)
	return eachPod(ctx, seen, func(kind watch.EventType, _ *corev1.Pod) bool {
		if kind == watch.Deleted {
			left--
		}
		return left == 0
	})
}

func (w *worker) onePods(ctx context.Context) error {
	var all []time.Duration
	for i := range podRuns {
		took, err := w.runPods(ctx, fmt.Sprint("one-", i), 1)
		if err != nil {
			return err
		}
		all = append(all, took)
		if err := w.goneAll(ctx); err != nil {
			return err
		}
	}
	w.put("pod", medianMax(all)...)
	return nil
}

func (w *worker) manyPods(ctx context.Context) error {
	var all []time.Duration
	for i := range podsRuns {
		took, err := w.runPods(ctx, fmt.Sprint("many-", i), podsAtOnce)
		if err != nil {
			return err
		}
		all = append(all, took)
		if err := w.goneAll(ctx); err != nil {
			return err
		}
	}
	w.put("pods", medianMax(all)...)
	return nil
}

// rollouts measures a Deployment from its creation until its status says that all replicas are available.
func (w *worker) rollouts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*nodeTimeout)
	defer cancel()
	var all []time.Duration
	for i := range rolloutRuns {
		took, err := w.rollout(ctx, fmt.Sprintf("rollout-%d", i))
		if err != nil {
			return err
		}
		all = append(all, took)
	}
	w.put("rollout", medianMax(all)...)
	return nil
}
