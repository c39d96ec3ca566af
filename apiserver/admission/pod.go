package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// createsPod is true for the creation of a pod itself, which is all that the plugins in this file look at.
func createsPod(req *Request) (*corev1.Pod, bool) {
	if req.Operation != Create || req.Subresource != "" || !req.is("", "pods") {
		return nil, false
	}
	pod, ok := req.Object.(*corev1.Pod)
	return pod, ok
}

// evictionSeconds is how long a pod stays on a node that became unreachable or not ready, unless it says otherwise.
const evictionSeconds = 300

// defaultTolerations lets pods stay on a failing node for five minutes before they are replaced. An update that leaves the tolerations out
// gets them back: otherwise it would be refused for having removed them.
func defaultTolerations(_ context.Context, req *Request) error {
	pod, ok := req.Object.(*corev1.Pod)
	if !ok || req.Subresource != "" {
		return nil
	}
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if toleratesNoExecute(pod.Spec.Tolerations, taint) {
			continue
		}
		seconds := int64(evictionSeconds)
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	return nil
}

func toleratesNoExecute(tolerations []corev1.Toleration, taint string) bool {
	for _, t := range tolerations {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
