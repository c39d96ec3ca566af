package admission

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	defaultAccount = "default"
	// tokenPath is where every container finds its credentials.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenVolumePrefix begins the name of the volume that holds them.
	tokenVolumePrefix = "kube-api-access-"
	// tokenSeconds is how long the kubelet asks a pod's token to be valid; it renews it in time.
	tokenSeconds = 60*60 + 7
	// rootCAMap is the config map in every namespace with the certificates that clients should trust.
	rootCAMap = "kube-root-ca.crt"
	// mirrorAnnotation marks pods that a kubelet runs from a file and only shows here.
	mirrorAnnotation = corev1.MirrorPodAnnotationKey
)

var accountResource = corev1.SchemeGroupVersion.WithResource("serviceaccounts")

// serviceAccounts gives every pod an account, and its containers the account's token as a projected volume.
type serviceAccounts struct{ reader Reader }

func (p *serviceAccounts) mutate(ctx context.Context, req *Request) error {
	pod, ok := createsPod(req)
	if !ok || isMirror(pod) {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, req, pod)
	if err != nil {
		return err
	}
	if wantsToken(account, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return nil
}

func (p *serviceAccounts) validate(_ context.Context, req *Request) error {
	pod, ok := createsPod(req)
	if !ok || !isMirror(pod) {
		return nil
	}
	// A mirror pod must not be a way to get at an account's credentials.
	if pod.Spec.ServiceAccountName != "" {
		return apierrors.NewForbidden(req.GVR().GroupResource(), pod.Name, fmt.Errorf("a mirror pod may not reference service accounts"))
	}
	return nil
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[mirrorAnnotation]
	return ok
}

func (p *serviceAccounts) account(ctx context.Context, req *Request, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := pod.Spec.ServiceAccountName
	found := p.reader.Get(accountResource, req.Namespace, name)
	if found == nil {
		var err error
		if found, err = p.reader.Live(ctx, accountResource, req.Namespace, name); err != nil {
			return nil, apierrors.NewForbidden(req.GVR().GroupResource(), pod.Name,
				fmt.Errorf("error looking up service account %s/%s: %w", req.Namespace, name, err))
		}
	}
	return found.(*corev1.ServiceAccount), nil
}

// wantsToken lets the pod's word count before the account's.
func wantsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	if account.AutomountServiceAccountToken != nil {
		return *account.AutomountServiceAccountToken
	}
	return true
}

func mountToken(pod *corev1.Pod) {
	volume := ""
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolumePrefix) {
			volume = v.Name
		}
	}
	fresh := volume == ""
	if fresh {
		volume = tokenVolumeName(pod.Spec.ServiceAccountName)
	}
	mount := corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: tokenPath}
	used := addMount(pod.Spec.InitContainers, mount)
	if addMount(pod.Spec.Containers, mount) {
		used = true
	}
	if fresh && used {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: tokenVolume()})
	}
}

// tokenVolumeName is the same for all pods of an account: a name of its own would give every pod a shape of its own, and make the record of
// who manages which field be computed anew for each. It cannot meet another one, for a volume that begins like it is taken as it.
func tokenVolumeName(account string) string {
	sum := fnv.New32a()
	sum.Write([]byte(account))
	return tokenVolumePrefix + rand.SafeEncodeString(fmt.Sprintf("%010d", sum.Sum32()))[5:]
}

// addMount adds the mount to the containers that have nothing mounted at its path.
func addMount(containers []corev1.Container, mount corev1.VolumeMount) bool {
	added := false
	for i := range containers {
		taken := false
		for _, m := range containers[i].VolumeMounts {
			taken = taken || m.MountPath == mount.MountPath
		}
		if !taken {
			containers[i].VolumeMounts = append(containers[i].VolumeMounts, mount)
			added = true
		}
	}
	return added
}

func tokenVolume() corev1.VolumeSource {
	mode := int32(0o644)
	seconds := int64(tokenSeconds)
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds, Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     "namespace",
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}
}
