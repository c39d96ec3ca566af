package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	deploymentRuns     = 5
	deploymentReplicas = 100
	fakeNodes          = 5000
	schedulePods       = 10_000
)

// deployments measures the way from a Deployment over its ReplicaSet to its pods; no node is needed for it.
func (t *target) deployments(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var all []time.Duration
	for run := range deploymentRuns {
		name := fmt.Sprintf("deployment-%d", run)
		seen, err := t.watchPods(ctx, metav1.ListOptions{LabelSelector: "deployment=" + name})
		if err != nil {
			return err
		}
		began := time.Now()
		pod := samplePod("", noScheduler).Spec
		err = t.createDeployment(ctx, name, deploymentReplicas, pod)
		if err == nil {
			err = countPods(ctx, seen, deploymentReplicas)
		}
		seen.Stop()
		if err != nil {
			return err
		}
		all = append(all, time.Since(began))
	}
	t.put("deployment", medianMax(all)...)
	return t.AppsV1().Deployments(t.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

func (t *target) createDeployment(ctx context.Context, name string, replicas int32, pod corev1.PodSpec) error {
	labels := map[string]string{"deployment": name}
	_, err := t.AppsV1().Deployments(t.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod}},
	}, metav1.CreateOptions{})
	return err
}

// watchPods watches from now on: what exists is not told.
func (t *target) watchPods(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	one := options
	one.Limit = 1
	list, err := t.CoreV1().Pods(t.namespace).List(ctx, one)
	if err != nil {
		return nil, err
	}
	options.ResourceVersion = list.ResourceVersion
	return t.CoreV1().Pods(t.namespace).Watch(ctx, options)
}

// countPods returns when so many pods have been added.
func countPods(ctx context.Context, seen watch.Interface, want int) error {
	for n := 0; n < want; {
		select {
		case event, ok := <-seen.ResultChan():
			if !ok {
				return errWatchEnded
			}
			if event.Type == watch.Added {
				n++
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods came: %w", n, want, ctx.Err())
		}
	}
	return nil
}

// schedule has many pods bound to many nodes that exist only as objects.
func (t *target) schedule(ctx context.Context) error {
	defer t.removeNodes()
	_, err := hammer(ctx, loadWorkers, fakeNodes, loadTimeout, func(ctx context.Context, i int) error {
		body, err := encode(t.fakeNode(i), corev1.SchemeGroupVersion, "Node")
		if err != nil {
			return err
		}
		_, err = t.send(ctx, i, "POST", "/api/v1/nodes", asProtobuf, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("make nodes: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*loadTimeout)
	defer cancel()
	seen, err := t.watchPods(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName!="})
	if err != nil {
		return err
	}
	defer seen.Stop()
	began := time.Now()
	bound := make(chan error, 1)
	go func() { bound <- countPods(ctx, seen, schedulePods) }()
	_, err = t.createAll(ctx, "scheduled", corev1.DefaultSchedulerName, schedulePods)
	if err != nil {
		cancel()
		return errors.Join(err, <-bound)
	}
	if err := <-bound; err != nil {
		return err
	}
	t.put("schedule", schedulePods/time.Since(began).Seconds())
	return nil
}

// fakeNode is a node of four cores that says of itself that it is ready.
func (t *target) fakeNode(n int) *corev1.Node {
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
	name := fmt.Sprintf("%s-%d", t.namespace, n)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench": t.namespace, corev1.LabelHostname: name}},
		// With a range of its own, so that nobody has to find one for it.
		Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 64+n/256, n%256), PodCIDRs: []string{fmt.Sprintf("10.%d.%d.0/24", 64+n/256, n%256)}},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Bench", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}},
	}
}

func (t *target) removeNodes() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	t.removePods()
	// An error shows as nodes that are left; they bear the namespace's name.
	_ = t.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "bench=" + t.namespace})
}
