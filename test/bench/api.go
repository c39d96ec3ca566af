package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How much load the api group puts on a server.
const (
	controlStarts = 5
	podCount      = 10_000
	getCount      = 40_000
	listCount     = 10
	loadWorkers   = 64
	loadTimeout   = 40 * time.Second // for one measurement, on any server
)

// target is an API server under load.
type target struct {
	*client
	*results
	namespace string
	pids      []int // its processes; none: its memory and CPU are not measured
}

// apiGroup measures an API server: of our own without a node, or whichever a kubeconfig names.
func apiGroup(ctx context.Context, b *bench) error {
	if b.kubeconfig != "" {
		b.notes["start"] = "not measured: not a server of our own"
		return b.load(ctx, b.kubeconfig, nil, b.pids, b.fakeNodes)
	}
	return b.withMachine(ctx, func(ctx context.Context, m *machine) error {
		b.step("start", func() error {
			var all []time.Duration
			for range controlStarts {
				if err := errors.Join(m.stopControl(), os.RemoveAll(m.data()), os.RemoveAll(m.run())); err != nil {
					return err
				}
				took, err := m.startControl(ctx)
				if err != nil {
					return err
				}
				all = append(all, took)
			}
			b.put("start", medianMax(all)...)
			return nil
		})
		if m.server == nil && ctx.Err() == nil {
			if _, err := m.startControl(ctx); err != nil {
				return err
			}
		}
		if m.server == nil {
			return errors.New("the control plane did not start")
		}
		return b.load(ctx, m.kubeconfig(), m.dial, []int{m.server.Process.Pid}, true)
	})
}

// load runs all measurements of a server in a namespace of their own.
func (b *bench) load(ctx context.Context, kubeconfig string, dial dialer, pids []int, fakeNodes bool) error {
	c, err := connect(kubeconfig, dial, connections)
	if err != nil {
		return err
	}
	defer c.close()
	t := &target{c, b.results, b.namespace, pids}
	if err := t.makeNamespace(ctx); err != nil {
		return err
	}
	t.step("create", func() error { return t.createPods(ctx) })
	t.step("memory", func() error { return t.memory(ctx) })
	t.step("get", func() error { return t.getPods(ctx) })
	t.step("list-protobuf", func() error { return t.listPods(ctx, "list-protobuf", asProtobuf) })
	t.step("list-json", func() error { return t.listPods(ctx, "list-json", asJSON) })
	t.step("deployment", func() error { return t.deployments(ctx) })
	t.removePods()
	t.step("fanout", func() error { return t.fanOut(ctx, "fanout", kubeconfig, dial, asProtobufWatch) })
	t.step("fanout-json", func() error { return t.fanOut(ctx, "fanout-json", kubeconfig, dial, asJSON) })
	if fakeNodes {
		t.step("schedule", func() error { return t.schedule(ctx) })
	}
	return t.removeNamespace()
}

// makeNamespace makes the namespace, and its service account if no controller does.
func (t *target) makeNamespace(ctx context.Context) error {
	_, err := t.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: t.namespace}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make namespace: %w", err)
	}
	_, err = t.CoreV1().ServiceAccounts(t.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make service account: %w", err)
	}
	return nil
}

// removeNamespace removes everything that was made, also where no namespace controller would, and after ^C.
func (t *target) removeNamespace() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	everything := metav1.ListOptions{}
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	ns := t.namespace
	return errors.Join(
		t.AppsV1().Deployments(ns).DeleteCollection(ctx, now, everything),
		t.AppsV1().ReplicaSets(ns).DeleteCollection(ctx, now, everything),
		t.CoreV1().Pods(ns).DeleteCollection(ctx, now, everything),
		t.CoreV1().ConfigMaps(ns).DeleteCollection(ctx, now, everything),
		t.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}))
}

// removePods takes the pods away that the next measurements do not need.
func (t *target) removePods() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	err := t.CoreV1().Pods(t.namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: remove pods:", err)
	}
}

// samplePod is a pod as a Deployment makes it. The scheduler takes it if it is named; "nobody" leaves it alone.
func samplePod(name, scheduler string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench", "pod-template-hash": "5f4d7c9b6"}},
		Spec: corev1.PodSpec{SchedulerName: scheduler, Containers: []corev1.Container{{
			Name: "main", Image: "registry.example/bench/web:1.0", Args: []string{"--port=8080"},
			Env:   []corev1.EnvVar{{Name: "MODE", Value: "bench"}, {Name: "LOG", Value: "info"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi")}},
		}}},
	}
}

const noScheduler = "nobody"

func (t *target) podsPath() string { return "/api/v1/namespaces/" + t.namespace + "/pods" }

// cpu measures the server's processor time over a function, per operation; it is absent if the server's processes are not known.
func (t *target) cpu(operations int, do func() error) (each time.Duration, known bool, err error) {
	if len(t.pids) == 0 {
		return 0, false, do()
	}
	before, err := cpuTime(t.pids)
	if err != nil {
		return 0, false, err
	}
	if err := do(); err != nil {
		return 0, false, err
	}
	after, err := cpuTime(t.pids)
	return (after - before) / time.Duration(operations), true, err
}

// createAll creates pods from many writers.
func (t *target) createAll(ctx context.Context, prefix, scheduler string, count int) (burst, error) {
	bodies := make([][]byte, count)
	for i := range bodies {
		body, err := encode(samplePod(fmt.Sprintf("%s-%d", prefix, i), scheduler), corev1.SchemeGroupVersion, "Pod")
		if err != nil {
			return burst{}, err
		}
		bodies[i] = body
	}
	return hammer(ctx, loadWorkers, count, loadTimeout, func(ctx context.Context, i int) error {
		_, err := t.send(ctx, i, "POST", t.podsPath(), asProtobuf, bodies[i])
		return err
	})
}

func (t *target) createPods(ctx context.Context) error {
	var done burst
	each, known, err := t.cpu(podCount, func() (err error) {
		done, err = t.createAll(ctx, "load", noScheduler, podCount)
		return err
	})
	if err != nil {
		return err
	}
	t.putBurst("create", done, each, known)
	return nil
}

func (t *target) putBurst(id string, done burst, each time.Duration, known bool) {
	figures := []float64{done.rate(), ms(quantile(done.each, 0.5)), ms(quantile(done.each, 0.99))}
	if known {
		figures = append(figures, float64(each)/float64(time.Microsecond))
	}
	t.put(id, figures...)
}

func (t *target) getPods(ctx context.Context) error {
	var done burst
	each, known, err := t.cpu(getCount, func() (err error) {
		done, err = hammer(ctx, loadWorkers, getCount, loadTimeout, func(ctx context.Context, i int) error {
			_, err := t.send(ctx, i, "GET", fmt.Sprintf("%s/load-%d", t.podsPath(), rand.IntN(podCount)), asProtobuf, nil)
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	t.putBurst("get", done, each, known)
	return nil
}

// memory is measured when the garbage of the creates has had time to go.
func (t *target) memory(ctx context.Context) error {
	if len(t.pids) == 0 {
		return errors.New("the server's processes are not known (--pids)")
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	resident, anonymous, err := memory(t.pids)
	if err != nil {
		return err
	}
	t.put("memory", resident, anonymous)
	return nil
}

func (t *target) listPods(ctx context.Context, id, accept string) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	one := func() error {
		n, err := t.send(ctx, 0, "GET", t.podsPath(), accept, nil)
		if err == nil && n < podCount*500 {
			err = fmt.Errorf("the list has only %d bytes: not all pods are in it", n)
		}
		return err
	}
	if err := one(); err != nil {
		return err
	}
	var all []time.Duration
	each, known, err := t.cpu(listCount, func() error {
		for range listCount {
			began := time.Now()
			if err := one(); err != nil {
				return err
			}
			all = append(all, time.Since(began))
		}
		return nil
	})
	if err != nil {
		return err
	}
	figures := []float64{0, ms(quantile(all, 0.5))}
	if known {
		figures[0] = ms(each)
	}
	t.put(id, figures...)
	return nil
}

// pause lets a machine come to rest, or returns early at ^C.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
