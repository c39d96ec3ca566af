package podspec

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

const (
	maxFileMode  = 0o777
	fileModeText = "must be a number between 0 and 0777 (octal), both inclusive"
)

func validateVolumes(volumes []corev1.Volume, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range volumes {
		v, at := &volumes[i], at.Index(i)
		faults := validateVolumeSource(&v.VolumeSource, at)
		switch {
		case v.Name == "":
			faults = append(faults, field.Required(at.Child("name"), ""))
		case names.Has(v.Name):
			faults = append(faults, field.Duplicate(at.Child("name"), v.Name))
		default:
			faults = append(faults, check.DNSLabel(v.Name, at.Child("name"))...)
		}
		names.Insert(v.Name)
		errs = append(errs, faults...)
	}
	return errs
}

// validateVolumeSource checks that a volume has exactly one source, and that one.
func validateVolumeSource(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	set := sourcesOf(s)
	if len(set) == 0 {
		return append(errs, field.Required(at, "must specify a volume type"))
	}
	for _, name := range set[1:] {
		errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
	}
	at = at.Child(set[0])
	switch set[0] {
	case "emptyDir":
		if limit := s.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			errs = append(errs, field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case "hostPath":
		errs = append(errs, validateHostPath(s.HostPath, at)...)
	case "secret":
		errs = append(errs, check.Required(s.Secret.SecretName, at.Child("secretName"))...)
		errs = append(errs, validateMode(s.Secret.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateItems(s.Secret.Items, at.Child("items"))...)
	case "configMap":
		errs = append(errs, check.Required(s.ConfigMap.Name, at.Child("name"))...)
		errs = append(errs, validateMode(s.ConfigMap.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateItems(s.ConfigMap.Items, at.Child("items"))...)
	case "downwardAPI":
		errs = append(errs, validateMode(s.DownwardAPI.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateDownwardFiles(s.DownwardAPI.Items, at)...)
	case "projected":
		errs = append(errs, validateProjected(s.Projected, at)...)
	case "image":
		errs = append(errs, check.Required(s.Image.Reference, at.Child("reference"))...)
		errs = append(errs, check.OneOfOrNone(s.Image.PullPolicy, at.Child("pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	case "ephemeral":
		if s.Ephemeral.VolumeClaimTemplate == nil {
			errs = append(errs, field.Required(at.Child("volumeClaimTemplate"), ""))
		}
	default:
		errs = append(errs, validateRemoteVolume(s, at)...)
	}
	return errs
}

// sourcesOf are the names of the sources that are set, in the order of the type's fields, as in its JSON form.
func sourcesOf(s *corev1.VolumeSource) []string {
	var names []string
	value := reflect.ValueOf(s).Elem()
	for i := range value.NumField() {
		if !value.Field(i).IsNil() {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// validateRemoteVolume checks that volumes from elsewhere say where.
func validateRemoteVolume(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	need := func(name, value string) { errs = append(errs, check.Required(value, at.Child(name))...) }
	switch {
	case s.NFS != nil:
		need("server", s.NFS.Server)
		need("path", s.NFS.Path)
		if !path.IsAbs(s.NFS.Path) {
			errs = append(errs, field.Invalid(at.Child("path"), s.NFS.Path, "must be an absolute path"))
		}
	case s.PersistentVolumeClaim != nil:
		need("claimName", s.PersistentVolumeClaim.ClaimName)
	case s.CSI != nil:
		need("driver", s.CSI.Driver)
	case s.ISCSI != nil:
		need("targetPortal", s.ISCSI.TargetPortal)
		need("iqn", s.ISCSI.IQN)
		if s.ISCSI.Lun < 0 || s.ISCSI.Lun > 255 {
			errs = append(errs, field.Invalid(at.Child("lun"), s.ISCSI.Lun, "must be between 0 and 255, inclusive"))
		}
	case s.GCEPersistentDisk != nil:
		need("pdName", s.GCEPersistentDisk.PDName)
	case s.AWSElasticBlockStore != nil:
		need("volumeID", s.AWSElasticBlockStore.VolumeID)
	case s.GitRepo != nil:
		need("repository", s.GitRepo.Repository)
		errs = append(errs, descending(s.GitRepo.Directory, at.Child("directory"))...)
	case s.Glusterfs != nil:
		need("endpoints", s.Glusterfs.EndpointsName)
		need("path", s.Glusterfs.Path)
	case s.RBD != nil:
		if len(s.RBD.CephMonitors) == 0 {
			errs = append(errs, field.Required(at.Child("monitors"), ""))
		}
		need("image", s.RBD.RBDImage)
	case s.CephFS != nil:
		if len(s.CephFS.Monitors) == 0 {
			errs = append(errs, field.Required(at.Child("monitors"), ""))
		}
	case s.Cinder != nil:
		need("volumeID", s.Cinder.VolumeID)
	case s.FlexVolume != nil:
		need("driver", s.FlexVolume.Driver)
	case s.VsphereVolume != nil:
		need("volumePath", s.VsphereVolume.VolumePath)
	case s.AzureFile != nil:
		need("secretName", s.AzureFile.SecretName)
		need("shareName", s.AzureFile.ShareName)
	case s.PortworxVolume != nil:
		need("volumeID", s.PortworxVolume.VolumeID)
	}
	return errs
}

func validateHostPath(s *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if s.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	errs := noBacksteps(s.Path, at.Child("path"))
	if s.Type != nil {
		errs = append(errs, check.OneOfOrNone(*s.Type, at.Child("type"), corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate,
			corev1.HostPathDirectory, corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket,
			corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
	}
	return errs
}

func validateMode(mode *int32, at *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > maxFileMode) {
		return field.ErrorList{field.Invalid(at, *mode, fileModeText)}
	}
	return nil
}

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := at.Index(i)
		errs = append(errs, check.Required(item.Key, at.Child("key"))...)
		errs = append(errs, check.Required(item.Path, at.Child("path"))...)
		errs = append(errs, nonReserved(item.Path, at.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

// nonReserved accepts a path below the volume that does not look like what the node itself writes there ("..data").
func nonReserved(target string, at *field.Path) field.ErrorList {
	errs := descending(target, at)
	if strings.HasPrefix(target, "..") && !strings.HasPrefix(target, "../") {
		errs = append(errs, field.Invalid(at, target, "must not start with '..'"))
	}
	return errs
}

func validateDownwardFiles(files []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range files {
		f, at := &files[i], at
		errs = append(errs, check.Required(f.Path, at.Child("path"))...)
		errs = append(errs, nonReserved(f.Path, at.Child("path"))...)
		switch {
		case f.FieldRef != nil:
			errs = append(errs, validateFieldRef(f.FieldRef, fileFieldPaths, at.Child("fieldRef"))...)
			if f.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case f.ResourceFieldRef != nil:
			errs = append(errs, validateResourceFieldRef(f.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, validateMode(f.Mode, at.Child("mode"))...)
	}
	return errs
}

// The shortest and longest life that a service account token may ask for, in seconds.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := validateMode(p.DefaultMode, at.Child("defaultMode"))
	paths := sets.New[string]()
	take := func(path string, at *field.Path, name string) {
		if path == "" {
			return
		}
		if paths.Has(path) {
			errs = append(errs, field.Invalid(at, name, "conflicting duplicate paths"))
		}
		paths.Insert(path)
	}
	for i := range p.Sources {
		s, at := &p.Sources[i], at.Child("sources").Index(i)
		count := 0
		only := func(name string) bool {
			if count++; count > 1 {
				errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			}
			return count == 1
		}
		if s.Secret != nil && only("secret") {
			at := at.Child("secret")
			errs = append(errs, check.Required(s.Secret.Name, at.Child("name"))...)
			errs = append(errs, validateItems(s.Secret.Items, at.Child("items"))...)
			for _, item := range s.Secret.Items {
				take(item.Path, at, s.Secret.Name)
			}
		}
		if s.ConfigMap != nil && only("configMap") {
			at := at.Child("configMap")
			errs = append(errs, check.Required(s.ConfigMap.Name, at.Child("name"))...)
			errs = append(errs, validateItems(s.ConfigMap.Items, at.Child("items"))...)
			for _, item := range s.ConfigMap.Items {
				take(item.Path, at, s.ConfigMap.Name)
			}
		}
		if s.DownwardAPI != nil && only("downwardAPI") {
			at := at.Child("downwardAPI")
			errs = append(errs, validateDownwardFiles(s.DownwardAPI.Items, at)...)
			for _, item := range s.DownwardAPI.Items {
				take(item.Path, at, item.Path)
			}
		}
		if token := s.ServiceAccountToken; token != nil && only("serviceAccountToken") {
			at := at.Child("serviceAccountToken")
			errs = append(errs, validateTokenProjection(token, at)...)
			take(token.Path, at, token.Path)
		}
		if bundle := s.ClusterTrustBundle; bundle != nil && only("clusterTrustBundle") {
			at := at.Child("clusterTrustBundle")
			errs = append(errs, check.Required(bundle.Path, at.Child("path"))...)
			errs = append(errs, nonReserved(bundle.Path, at.Child("path"))...)
			if (bundle.Name == nil) == (bundle.SignerName == nil) {
				errs = append(errs, field.Required(at, "exactly one of name and signerName is required"))
			}
			take(bundle.Path, at, bundle.Path)
		}
	}
	return errs
}

func validateTokenProjection(token *corev1.ServiceAccountTokenProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seconds := at.Child("expirationSeconds")
	switch s := token.ExpirationSeconds; {
	case s == nil:
		errs = append(errs, field.Required(seconds, ""))
	case *s < minTokenSeconds:
		errs = append(errs, field.Invalid(seconds, *s, "may not specify a duration less than 10 minutes"))
	case *s > maxTokenSeconds:
		errs = append(errs, field.Invalid(seconds, *s, "may not specify a duration larger than 2^32 seconds"))
	}
	if token.Path == "" {
		return append(errs, field.Required(at.Child("path"), ""))
	}
	return append(errs, nonReserved(token.Path, at.Child("path"))...)
}
