package kinds

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func coreKind(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }

// core is the group without a name, version v1, by resource name.
func core(config Config) []*Kind {
	return []*Kind{
		configMaps(),
		coreEvents(),
		namespaces(),
		nodes(),
		pods(),
		secrets(),
		serviceAccounts(),
		services(config),
	}
}

func configMaps() *Kind {
	return &Kind{
		GVK:            coreKind("ConfigMap"),
		Resource:       "configmaps",
		Singular:       "configmap",
		ShortNames:     []string{"cm"},
		Namespaced:     true,
		StoragePrefix:  "configmaps",
		New:            func() Object { return &corev1.ConfigMap{} },
		NewList:        func() runtime.Object { return &corev1.ConfigMapList{} },
		ValidateCreate: faults(validateConfigMap),
		ValidateUpdate: faultsOf(validateConfigMapUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			col("Data", "string", "Number of keys, text and binary together."),
			ageColumn(),
		},
		Cells: cells(configMapCells),
	}
}

func coreEvents() *Kind {
	return &Kind{
		GVK:              coreKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		StoragePrefix:    "events",
		New:              func() Object { return &corev1.Event{} },
		NewList:          func() runtime.Object { return &corev1.EventList{} },
		ValidateCreate:   faults(validateCoreEvent),
		ValidateUpdate:   faultsOf(validateCoreEventUpdate),
		Fields:           coreEventFields,
		SelectableFields: coreEventFieldNames,
		Columns:          eventColumns(),
		Cells:            cells(coreEventCells),
	}
}

func namespaces() *Kind {
	return &Kind{
		GVK:              coreKind("Namespace"),
		Resource:         "namespaces",
		Singular:         "namespace",
		ShortNames:       []string{"ns"},
		Verbs:            []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		StoragePrefix:    "namespaces",
		New:              func() Object { return &corev1.Namespace{} },
		NewList:          func() runtime.Object { return &corev1.NamespaceList{} },
		Default:          one(defaultNamespace),
		PrepareCreate:    one(prepareNamespace),
		PrepareUpdate:    two(prepareNamespaceUpdate),
		ValidateCreate:   faults(validateNamespace),
		ValidateUpdate:   faultsOf(validateNamespaceUpdate),
		Fields:           namespaceFields,
		SelectableFields: []string{"status.phase"},
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			col("Status", "string", "The status of the namespace"),
			ageColumn(),
		},
		Cells:       cells(namespaceCells),
		BeginDelete: one(beginNamespaceDelete),
		HoldsDelete: holdsNamespace,
		Subresources: []Subresource{
			{
				Name:           "finalize",
				Verbs:          []string{"update"},
				PrepareUpdate:  two(prepareNamespaceFinalize),
				ValidateUpdate: faultsOf(validateNamespaceFinalize),
			},
			{
				Name:           "status",
				Verbs:          statusVerbs(),
				PrepareUpdate:  two(prepareNamespaceStatus),
				ValidateUpdate: faultsOf(validateNamespaceStatus),
			},
		},
	}
}

func nodes() *Kind {
	return &Kind{
		GVK:              coreKind("Node"),
		Resource:         "nodes",
		Singular:         "node",
		ShortNames:       []string{"no"},
		StoragePrefix:    "minions",
		New:              func() Object { return &corev1.Node{} },
		NewList:          func() runtime.Object { return &corev1.NodeList{} },
		Default:          one(defaultNode),
		PrepareUpdate:    two(prepareNodeUpdate),
		ValidateCreate:   faults(validateNode),
		ValidateUpdate:   faultsOf(validateNodeUpdate),
		Fields:           nodeFields,
		SelectableFields: []string{"spec.unschedulable"},
		Columns:          nodeColumns(),
		Cells:            cells(nodeCells),
		Subresources: []Subresource{
			{Name: "proxy", GVK: coreKind("NodeProxyOptions"), Verbs: []string{"create", "delete", "get", "patch", "update"}, Connect: true},
			{
				Name:           "status",
				Verbs:          statusVerbs(),
				PrepareUpdate:  two(prepareNodeStatus),
				ValidateUpdate: faultsOf(validateNodeUpdate),
			},
		},
	}
}

func pods() *Kind {
	return &Kind{
		GVK:              coreKind("Pod"),
		Resource:         "pods",
		Singular:         "pod",
		ShortNames:       []string{"po"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "pods",
		New:              func() Object { return &corev1.Pod{} },
		NewList:          func() runtime.Object { return &corev1.PodList{} },
		Default:          one(defaultPod),
		PrepareCreate:    one(preparePod),
		PrepareUpdate:    two(preparePodUpdate),
		ValidateCreate:   faults(validatePod),
		ValidateUpdate:   faultsOf(validatePodUpdate),
		Warnings:         podWarnings,
		Fields:           podFields,
		SelectableFields: podFieldNames,
		Columns:          podColumns(),
		Cells:            cells(podCells),
		GracefulDelete:   podGrace,
		Subresources: []Subresource{
			{Name: "attach", GVK: coreKind("PodAttachOptions"), Verbs: []string{"create", "get"}, Connect: true},
			{
				Name:  "binding",
				GVK:   coreKind("Binding"),
				Verbs: []string{"create"},
				New:   func() runtime.Object { return &corev1.Binding{} },
				Into:  bindPod,
				// bindPod changes what an update may not, and has checked it.
				PrepareUpdate:  func(_, _ Object) {},
				ValidateUpdate: func(_, _ Object) field.ErrorList { return nil },
			},
			{
				Name:           "ephemeralcontainers",
				Verbs:          statusVerbs(),
				PrepareUpdate:  two(preparePodEphemeral),
				ValidateUpdate: faultsOf(validatePodEphemeral),
			},
			{
				Name:  "eviction",
				GVK:   policyv1.SchemeGroupVersion.WithKind("Eviction"),
				Verbs: []string{"create"},
				New:   func() runtime.Object { return &policyv1.Eviction{} },
			},
			{Name: "exec", GVK: coreKind("PodExecOptions"), Verbs: []string{"create", "get"}, Connect: true},
			{Name: "log", Verbs: []string{"get"}, Connect: true},
			{Name: "portforward", GVK: coreKind("PodPortForwardOptions"), Verbs: []string{"create", "get"}, Connect: true},
			{
				Name:           "status",
				Verbs:          statusVerbs(),
				PrepareUpdate:  two(preparePodStatus),
				ValidateUpdate: faultsOf(validatePodStatus),
			},
		},
	}
}

func secrets() *Kind {
	return &Kind{
		GVK:              coreKind("Secret"),
		Resource:         "secrets",
		Singular:         "secret",
		Namespaced:       true,
		StoragePrefix:    "secrets",
		New:              func() Object { return &corev1.Secret{} },
		NewList:          func() runtime.Object { return &corev1.SecretList{} },
		Default:          one(defaultSecret),
		ValidateCreate:   faults(validateSecret),
		ValidateUpdate:   faultsOf(validateSecretUpdate),
		Fields:           secretFields,
		SelectableFields: []string{"type"},
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			col("Type", "string", "Used to facilitate programmatic handling of secret data."),
			col("Data", "string", "Number of keys."),
			ageColumn(),
		},
		Cells: cells(secretCells),
	}
}

func serviceAccounts() *Kind {
	return &Kind{
		GVK:            coreKind("ServiceAccount"),
		Resource:       "serviceaccounts",
		Singular:       "serviceaccount",
		ShortNames:     []string{"sa"},
		Namespaced:     true,
		StoragePrefix:  "serviceaccounts",
		New:            func() Object { return &corev1.ServiceAccount{} },
		NewList:        func() runtime.Object { return &corev1.ServiceAccountList{} },
		PrepareCreate:  one(prepareServiceAccount),
		PrepareUpdate:  two(prepareServiceAccountUpdate),
		ValidateCreate: faults(validateServiceAccount),
		ValidateUpdate: faultsOf(validateServiceAccountUpdate),
		Columns:        []metav1.TableColumnDefinition{nameColumn(), ageColumn()},
		Cells:          cells(serviceAccountCells),
		Subresources: []Subresource{{
			Name:  "token",
			GVK:   authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
			Verbs: []string{"create"},
			New:   func() runtime.Object { return &authenticationv1.TokenRequest{} },
		}},
	}
}

func services(config Config) *Kind {
	hooks := serviceHooks{config: config}
	return &Kind{
		GVK:              coreKind("Service"),
		Resource:         "services",
		Singular:         "service",
		ShortNames:       []string{"svc"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "services/specs",
		New:              func() Object { return &corev1.Service{} },
		NewList:          func() runtime.Object { return &corev1.ServiceList{} },
		Default:          one(hooks.fill),
		PrepareCreate:    one(hooks.prepare),
		PrepareUpdate:    two(hooks.prepareUpdate),
		ValidateCreate:   faults(hooks.validate),
		ValidateUpdate:   faultsOf(hooks.validateUpdate),
		Warnings:         serviceWarnings,
		Fields:           serviceFields,
		SelectableFields: []string{"spec.clusterIP", "spec.type"},
		Columns:          serviceColumns(),
		Cells:            cells(serviceCells),
		Subresources: []Subresource{{
			Name:           "status",
			Verbs:          statusVerbs(),
			PrepareUpdate:  two(prepareServiceStatus),
			ValidateUpdate: faultsOf(validateServiceStatus),
		}},
	}
}

// statusVerbs are those of every subresource that shows the parent object itself.
func statusVerbs() []string { return []string{"get", "patch", "update"} }
