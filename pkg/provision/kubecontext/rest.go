package kubecontext

import (
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// FromREST is a kubeconfig with one context, called key, that says what a
// client's configuration says; namespace is the context's default.
func FromREST(c *rest.Config, key, namespace string) *clientcmdapi.Config {
	config := clientcmdapi.NewConfig()
	config.Clusters[key] = &clientcmdapi.Cluster{
		Server:                   c.Host,
		TLSServerName:            c.ServerName,
		InsecureSkipTLSVerify:    c.Insecure,
		CertificateAuthority:     c.CAFile,
		CertificateAuthorityData: c.CAData,
	}
	config.AuthInfos[key] = &clientcmdapi.AuthInfo{
		ClientCertificate:     c.CertFile,
		ClientCertificateData: c.CertData,
		ClientKey:             c.KeyFile,
		ClientKeyData:         c.KeyData,
		Token:                 c.BearerToken,
		TokenFile:             c.BearerTokenFile,
		Username:              c.Username,
		Password:              c.Password,
		Impersonate:           c.Impersonate.UserName,
		ImpersonateUID:        c.Impersonate.UID,
		ImpersonateGroups:     c.Impersonate.Groups,
		ImpersonateUserExtra:  c.Impersonate.Extra,
		AuthProvider:          c.AuthProvider,
		Exec:                  c.ExecProvider,
	}
	config.Contexts[key] = &clientcmdapi.Context{Cluster: key, AuthInfo: key, Namespace: namespace}
	config.CurrentContext = key
	return config
}
