package core

import (
	corev1 "k8s.io/api/core/v1"
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
