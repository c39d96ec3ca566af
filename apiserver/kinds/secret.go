package kinds

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func defaultSecret(secret *corev1.Secret) {
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	foldStrings(secret)
}

// foldStrings moves the write-only stringData into data. It is done this early so that it is neither stored nor owned by
// anyone's apply.
func foldStrings(secret *corev1.Secret) {
	if len(secret.StringData) == 0 {
		return
	}
	if secret.Data == nil {
		secret.Data = make(map[string][]byte, len(secret.StringData))
	}
	for key, value := range secret.StringData {
		secret.Data[key] = []byte(value)
	}
	secret.StringData = nil
}

func validateSecret(secret *corev1.Secret) field.ErrorList {
	errs := validateMeta(secret, true, apivalidation.NameIsDNSSubdomain)
	data := field.NewPath("data")
	size := 0
	for _, key := range sortedKeys(secret.Data) {
		value := secret.Data[key]
		for _, msg := range validation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(data.Key(key), key, msg))
		}
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	return append(errs, validateSecretType(secret, data)...)
}

// validateSecretType checks what the well-known types promise their readers.
func validateSecretType(secret *corev1.Secret, data *field.Path) field.ErrorList {
	var errs field.ErrorList
	require := func(key string) {
		if _, ok := secret.Data[key]; !ok {
			errs = append(errs, field.Required(data.Key(key), ""))
		}
	}
	requireJSON := func(key string) {
		require(key)
		var into map[string]any
		if content, ok := secret.Data[key]; ok {
			if err := json.Unmarshal(content, &into); err != nil {
				errs = append(errs, field.Invalid(data.Key(key), "<secret contents redacted>", err.Error()))
			}
		}
	}
	switch secret.Type {
	case corev1.SecretTypeServiceAccountToken:
		if secret.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(metaPath.Child("annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		requireJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		requireJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := secret.Data[corev1.BasicAuthUsernameKey]
		_, password := secret.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			errs = append(errs, field.Required(data.Key(corev1.BasicAuthUsernameKey), ""),
				field.Required(data.Key(corev1.BasicAuthPasswordKey), ""))
		}
	case corev1.SecretTypeSSHAuth:
		if len(secret.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		require(corev1.TLSCertKey)
		require(corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateSecretUpdate(secret, old *corev1.Secret) field.ErrorList {
	errs := validateMetaUpdate(secret, old)
	errs = append(errs, immutable(secret.Type, old.Type, field.NewPath("type"))...)
	if old.Immutable != nil && *old.Immutable {
		if secret.Immutable == nil || !*secret.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), setImmutable))
		}
		if !same(secret.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), setImmutable))
		}
	}
	return append(errs, validateSecret(secret)...)
}

func secretFields(obj Object) fields.Set {
	return withMetaFields(obj, fields.Set{"type": string(obj.(*corev1.Secret).Type)})
}

func secretCells(secret *corev1.Secret) []any {
	return []any{secret.Name, string(secret.Type), int64(len(secret.Data)), age(secret.CreationTimestamp)}
}
