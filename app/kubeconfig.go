package app

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/cuppa-project/cuppa/internal/atomicfile"
	"github.com/cuppa-project/cuppa/internal/pki"
)

// kubeconfig makes the file that kubectl and every other client reads.
func kubeconfig(server string, ca []byte, name string, user pki.Pair) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["cuppa"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: user.Cert, ClientKeyData: user.Key}
	config.Contexts["cuppa"] = &clientcmdapi.Context{Cluster: "cuppa", AuthInfo: name}
	config.CurrentContext = "cuppa"
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("make kubeconfig: %w", err)
	}
	return raw, nil
}

// writeFile stores a secret file.
func writeFile(path string, data []byte) error { return atomicfile.Write(path, data, 0o600) }
