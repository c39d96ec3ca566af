package podrefs

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestOf: every way to name an object is found, and nothing else.
func TestOf(t *testing.T) {
	const spec = `
metadata: {name: web}
spec:
  serviceAccountName: account
  imagePullSecrets: [{name: pull}, {name: twice}]
  initContainers:
  - {name: i, env: [{name: A, valueFrom: {secretKeyRef: {name: init-env, key: k}}}], envFrom: [{configMapRef: {name: init-from}}]}
  containers:
  - name: c
    env:
    - {name: A, value: plain}
    - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: C, valueFrom: {configMapKeyRef: {name: env, key: k}}}
    - {name: D, valueFrom: {secretKeyRef: {name: twice, key: k}}}
    envFrom: [{secretRef: {name: from}}]
  ephemeralContainers:
  - {name: e, envFrom: [{secretRef: {name: debug}}]}
  volumes:
  - {name: a, configMap: {name: files}}
  - {name: b, secret: {secretName: keys}}
  - {name: c, persistentVolumeClaim: {claimName: disk}}
  - {name: d, ephemeral: {volumeClaimTemplate: {}}}
  - {name: e, projected: {sources: [{configMap: {name: part}}, {secret: {name: part}}, {serviceAccountToken: {path: t}}]}}
  - {name: f, csi: {driver: x, nodePublishSecretRef: {name: open}}}
  - {name: g, azureFile: {secretName: azure, shareName: s}}
  - {name: h, rbd: {secretRef: {name: rbd}}}
  - {name: i, emptyDir: {}}
  - {name: j, hostPath: {path: /}}
`
	const want = `configmaps/env configmaps/files configmaps/init-from configmaps/part persistentvolumeclaims/disk persistentvolumeclaims/web-d ` +
		`secrets/azure secrets/debug secrets/from secrets/init-env secrets/keys secrets/open secrets/part secrets/pull secrets/rbd secrets/twice serviceaccounts/account`
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(spec), &pod); err != nil {
		t.Fatal(err)
	}
	if got := words(Of(&pod)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	if got := Of(&pod); got != nil {
		t.Errorf("a mirror pod: got %v, want nothing", got)
	}
	if got := words(InSpec(&pod)); got != want {
		t.Errorf("in the spec of a mirror pod: got %s", got)
	}
}

func words(refs []Ref) string {
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	var out []string
	for _, r := range refs {
		out = append(out, string(r.Kind)+"/"+r.Name)
	}
	return strings.Join(out, " ")
}
