package report

import "regexp"

// Cause is a reason in our words for the failure of some cases.
type Cause struct {
	Case    *regexp.Regexp // of "AREA NAME"; nil: any
	Message *regexp.Regexp // of the suite's message; nil: any
	Say     string         // in one line; begin with MachineLacks or NodesLack where the program is not at fault
}

func (c Cause) matches(of Case, message string) bool {
	return (c.Case == nil || c.Case.MatchString(of.Area+" "+of.Name)) && (c.Message == nil || c.Message.MatchString(message))
}

// Causes is the table, kept by hand: the first row that fits a failed case gives its reason. A row that hides the suite's own words must
// say more than they do.
func Causes() []Cause {
	row := func(cases, message, say string) Cause {
		c := Cause{Say: say}
		if cases != "" {
			c.Case = regexp.MustCompile(cases)
		}
		if message != "" {
			c.Message = regexp.MustCompile(message)
		}
		return c
	}
	// absent is what the suite says when a kind is not served. A row that asks for it stops to fit once the kind is.
	const absent = `could not find the requested resource|expected .* API group/version|expected .*APIResource|to be present|to exist in discovery|Fail to access: /apis/`
	return []Cause{
		row("", `(?i)(requires|needs?) (a cluster with )?at least (\d+|two) (schedulable )?nodes`, NodesLack+"the run had one"),
		row("AdmissionWebhook|AdmissionPolicy", absent, "webhooks and policies of admission (admissionregistration.k8s.io) are not served yet"),
		row("CustomResource|FieldValidation|for CRDs", absent+"|API group not found|failed to create CRD", "custom resource definitions (apiextensions.k8s.io) are not served yet"),
		row("Aggregat|Discovery should locate", absent+"|deploying extension apiserver", "some groups that the case looks for, such as apiregistration.k8s.io and admissionregistration.k8s.io, are not served yet"),
		row("priority and fairness", absent, "flow schemas and priority levels (flowcontrol.apiserver.k8s.io) are not served yet"),
		row("ResourceQuota|LimitRange|exceeded quota", absent, "ResourceQuota and LimitRange are not served yet"),
		row(`DRA\]`, absent, "dynamic resource allocation (resource.k8s.io) is not served yet"),
		row("ClusterTrustBundle|PodCertificate", absent+"|failed to start|MaxExpirationSeconds|waiting for deployment", "trust bundles and pod certificates (certificates.k8s.io) are not served yet"),
		row("StorageVersionMigration", absent, "migrations of storage versions (storagemigration.k8s.io) are not served yet"),
		row("ServiceCIDR", absent, "ServiceCIDR and IPAddress (networking.k8s.io) are not served yet"),
		row("Ingress API", absent, "Ingress (networking.k8s.io) is not served yet"),
		row("StatefulSet|Daemon ?[sS]et|Job|ControllerRevision", absent, "StatefulSet, DaemonSet, Job, CronJob and ControllerRevision are not served yet"),
		row("PersistentVolume|CSI|VolumeAtt", absent, "persistent volumes, their claims and the kinds of CSI are not served yet"),
		row("read only busybox", "Read-only file system", MachineLacks+"no published package has a shell with the suite's wording that also keeps the variables other cases need"),
		row("pull policy of Always", "to be in Running", MachineLacks+"the registry that the image would be pulled from is out of reach, and the case forbids the one that is present"),
	}
}
