package host

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// WriteKubeconfig writes the administrator's kubeconfig for a plane that serves
// at the given URL. It carries its certificates, so that it works wherever it is
// copied to.
func (d *Dir) WriteKubeconfig(url string, k Keys) error {
	return writeKubeconfig(d.Kubeconfig(), url, adminUser, k.ServingCA, k.AdminCert, k.AdminKey)
}

func writeKubeconfig(path, url, user, caFile, certFile, keyFile string) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	return writeKubeconfigOf(path, url, user, ca, &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
}

func writeKubeconfigOf(path, url, user string, ca []byte, who *clientcmdapi.AuthInfo) error {
	const name = "cellfed"
	data, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: url, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: who},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	})
	if err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	if err := writeFile(path, data); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	return nil
}
