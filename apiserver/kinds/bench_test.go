package kinds

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const benchPod = `
apiVersion: v1
kind: Pod
metadata: {name: web-7d9c-abcde, namespace: default, labels: {app: web, pod-template-hash: 7d9c}}
spec:
  serviceAccountName: default
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  containers:
  - name: web
    image: nginx:1.27
    ports: [{name: http, containerPort: 80}]
    env: [{name: A, value: "1"}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
    readinessProbe: {httpGet: {port: http}}
    volumeMounts: [{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
  volumes:
  - name: token
    projected:
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
`

// BenchmarkCreatePod is all that the table's hooks cost when a pod is created.
func BenchmarkCreatePod(b *testing.B) {
	kind := All().ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(benchPod), pod); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		kind.Default(pod)
		kind.PrepareCreate(pod)
		if errs := kind.ValidateCreate(pod); len(errs) > 0 {
			b.Fatal(errs)
		}
		kind.Warnings(pod, nil)
	}
}

// BenchmarkPodStatus is what they cost when a node reports a pod's status.
func BenchmarkPodStatus(b *testing.B) {
	kind := All().ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	old := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(benchPod), old); err != nil {
		b.Fatal(err)
	}
	old.ResourceVersion = "1"
	kind.Default(old)
	kind.PrepareCreate(old)
	status := kind.Subresource("status")
	pod := old.DeepCopy()
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.1.0.5"}}
	b.ReportAllocs()
	for b.Loop() {
		kind.Default(pod)
		status.PrepareUpdate(pod, old)
		if errs := status.ValidateUpdate(pod, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
