package member

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
)

// Reasons of a ConfigError.
const (
	// ReasonMalformedConfig says that what a KubeFedCluster and its secret say makes no connection.
	ReasonMalformedConfig = "MalformedClusterConfig"
	// ReasonMissingSecret says that the secret is not there.
	ReasonMissingSecret = "MissingSecret"
)

// ConfigError says what is wrong with a KubeFedCluster or its secret, and never what is in the secret.
type ConfigError struct {
	Reason  string
	Message string
}

// Error implements error.
func (e *ConfigError) Error() string { return e.Message }

func malformed(format string, args ...any) error {
	return &ConfigError{Reason: ReasonMalformedConfig, Message: fmt.Sprintf(format, args...)}
}

// Config is how to connect to a member: data only, so that two can be compared. Functions in REST (Dial, Transport,
// Proxy, WrapTransport, exec and auth provider plug-ins) are not used. The zero Config is of a member that is known by
// name only: it cannot be connected with.
type Config struct {
	REST *rest.Config
	// ProxyURL is the proxy to go through; nil = what the environment says.
	ProxyURL *url.URL
	// Tunnel says that the member is reached through its agents' tunnels: REST.Host is the address as seen from there.
	Tunnel bool
	// SkipSubjectName and SkipValidityPeriod leave out one check each of the member's certificate.
	SkipSubjectName, SkipValidityPeriod bool
}

// Equal tells whether two configurations make the same connection.
func (c Config) Equal(other Config) bool { return c.fingerprint() == other.fingerprint() }

func (c Config) fingerprint() [sha256.Size]byte {
	r := c.REST
	if r == nil {
		return [sha256.Size]byte{}
	}
	proxy := ""
	if c.ProxyURL != nil {
		proxy = c.ProxyURL.String()
	}
	h := sha256.New()
	for _, v := range []any{
		r.Host, r.APIPath, r.Username, r.Password, r.BearerToken, r.BearerTokenFile,
		r.Impersonate.UserName, r.Impersonate.UID, r.Impersonate.Groups, r.Impersonate.Extra,
		r.Insecure, r.ServerName, r.CertData, r.KeyData, r.CAData, r.CertFile, r.KeyFile, r.CAFile, r.NextProtos,
		proxy, c.Tunnel, c.SkipSubjectName, c.SkipValidityPeriod,
	} {
		fmt.Fprintf(h, "%#v\x00", v)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (c Config) proxy() func(*http.Request) (*url.URL, error) {
	if c.Tunnel {
		// What the environment says is of this machine's network, and not of the member's.
		return func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	if c.ProxyURL == nil {
		return http.ProxyFromEnvironment
	}
	return http.ProxyURL(c.ProxyURL)
}

// restConfig is the configuration as client-go wants it, with what the fleet says about all members.
func (c Config) restConfig(opts Options) *rest.Config {
	r := rest.AnonymousClientConfig(c.REST)
	r.Username, r.Password, r.BearerToken, r.BearerTokenFile = c.REST.Username, c.REST.Password, c.REST.BearerToken, c.REST.BearerTokenFile
	r.Impersonate = c.REST.Impersonate
	r.TLSClientConfig = c.REST.TLSClientConfig
	r.Dial, r.Proxy, r.Transport, r.WrapTransport, r.ExecProvider, r.AuthProvider = nil, nil, nil, nil, nil, nil
	r.UserAgent, r.QPS, r.Burst, r.Timeout = opts.UserAgent, opts.QPS, opts.Burst, 0
	r.WarningHandler = rest.NoWarnings{} // or a member could fill the plane's log
	if opts.QPS == 0 {
		r.QPS = -1
	}
	return r
}

// ConfigFor reads how to connect to a member from its KubeFedCluster and the secret that this names (nil if there is
// none). Its errors are *ConfigError.
func ConfigFor(cluster *corev1beta1.KubeFedCluster, secret *corev1.Secret) (Config, error) {
	spec := cluster.Spec
	if spec.SecretRef.Name == "" {
		return Config{}, malformed("spec.secretRef.name is empty")
	}
	if secret == nil {
		return Config{}, &ConfigError{Reason: ReasonMissingSecret, Message: fmt.Sprintf("the secret %s is not there", spec.SecretRef.Name)}
	}
	config, err := credentials(secret)
	if err != nil {
		return Config{}, err
	}
	if spec.APIEndpoint != "" {
		host, err := endpoint("spec.apiEndpoint", spec.APIEndpoint)
		if err != nil {
			return Config{}, err
		}
		if config.REST.Host != "" && config.REST.Host != host {
			config.REST.ServerName = "" // it was said of another endpoint
		}
		config.REST.Host = host
	}
	if config.REST.Host == "" {
		return Config{}, malformed("spec.apiEndpoint is empty")
	}
	if len(spec.CABundle) > 0 {
		config.REST.CAData, config.REST.Insecure = spec.CABundle, false
	}
	if spec.Tunnel != nil && len(config.REST.CAData) == 0 && !config.REST.Insecure {
		config.REST.CAData = secret.Data[corev1.ServiceAccountRootCAKey] // which the member's agent brought
	}
	if ca := config.REST.CAData; len(ca) > 0 && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return Config{}, malformed("spec.caBundle, or ca.crt in the secret, holds no PEM certificate")
	}
	if spec.ProxyURL != "" {
		if config.ProxyURL, err = proxyURL("spec.proxyURL", spec.ProxyURL); err != nil {
			return Config{}, err
		}
	}
	if config.Tunnel = spec.Tunnel != nil; config.Tunnel && config.ProxyURL != nil {
		return Config{}, malformed("spec.tunnel and a proxy URL exclude each other: remove spec.proxyURL, or proxy-url from the kubeconfig in the secret")
	}
	if err := disableValidations(&config, spec.DisabledTLSValidations); err != nil {
		return Config{}, err
	}
	return config, nil
}

// credentials reads the secret. Exactly one way of proving who the plane is must be in it.
func credentials(secret *corev1.Secret) (Config, error) {
	token := bytes.TrimSpace(secret.Data[corev1beta1.SecretTokenKey])
	cert, key := secret.Data[corev1beta1.SecretClientCertificateKey], secret.Data[corev1beta1.SecretClientKeyKey]
	kubeconfig := secret.Data[corev1beta1.SecretKubeconfigKey]
	ways := 0
	for _, there := range []bool{len(token) > 0, len(cert)+len(key) > 0, len(kubeconfig) > 0} {
		if there {
			ways++
		}
	}
	switch {
	case ways == 0:
		return Config{}, malformed("the secret %s holds no credentials: it needs %s, or %s and %s, or %s", secret.Name,
			corev1beta1.SecretTokenKey, corev1beta1.SecretClientCertificateKey, corev1beta1.SecretClientKeyKey, corev1beta1.SecretKubeconfigKey)
	case ways > 1:
		return Config{}, malformed("the secret %s holds more than one kind of credentials: keep one of %s, %s with %s, %s", secret.Name,
			corev1beta1.SecretTokenKey, corev1beta1.SecretClientCertificateKey, corev1beta1.SecretClientKeyKey, corev1beta1.SecretKubeconfigKey)
	case len(kubeconfig) > 0:
		return fromKubeconfig(secret.Name, kubeconfig)
	case len(token) > 0:
		if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return Config{}, malformed("%s of the secret %s is no bearer token: it holds blanks or unprintable characters", corev1beta1.SecretTokenKey, secret.Name)
		}
		return Config{REST: &rest.Config{BearerToken: string(token)}}, nil
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil { // its errors name no content
		return Config{}, malformed("%s and %s of the secret %s are no pair of certificate and key",
			corev1beta1.SecretClientCertificateKey, corev1beta1.SecretClientKeyKey, secret.Name)
	}
	return Config{REST: &rest.Config{TLSClientConfig: rest.TLSClientConfig{CertData: cert, KeyData: key}}}, nil
}

// fromKubeconfig takes the current context of a kubeconfig, by hand: client-go's loader would also follow what the
// kubeconfig refers to, and a tenant's kubeconfig must not make the plane run a program or read its own files.
func fromKubeconfig(secret string, raw []byte) (Config, error) {
	where := fmt.Sprintf("%s of the secret %s", corev1beta1.SecretKubeconfigKey, secret)
	kc, err := clientcmd.Load(raw)
	if err != nil { // not told: it may quote what it could not read
		return Config{}, malformed("%s is no kubeconfig", where)
	}
	current := kc.Contexts[kc.CurrentContext]
	if current == nil {
		return Config{}, malformed("%s has no context %q", where, kc.CurrentContext)
	}
	cluster, user := kc.Clusters[current.Cluster], kc.AuthInfos[current.AuthInfo]
	if cluster == nil {
		return Config{}, malformed("%s has no cluster %q", where, current.Cluster)
	}
	if user == nil {
		return Config{}, malformed("%s has no user %q", where, current.AuthInfo)
	}
	if err := refuseReferences(where, cluster, user); err != nil {
		return Config{}, err
	}
	config := Config{REST: &rest.Config{
		Username: user.Username, Password: user.Password, BearerToken: strings.TrimSpace(user.Token),
		Impersonate: rest.ImpersonationConfig{UserName: user.Impersonate, UID: user.ImpersonateUID, Groups: user.ImpersonateGroups, Extra: user.ImpersonateUserExtra},
		TLSClientConfig: rest.TLSClientConfig{
			Insecure: cluster.InsecureSkipTLSVerify, ServerName: cluster.TLSServerName, CAData: cluster.CertificateAuthorityData,
			CertData: user.ClientCertificateData, KeyData: user.ClientKeyData,
		},
	}}
	if cluster.InsecureSkipTLSVerify {
		config.REST.CAData = nil
	}
	if len(user.ClientCertificateData)+len(user.ClientKeyData) > 0 {
		if _, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData); err != nil {
			return Config{}, malformed("client-certificate-data and client-key-data in %s are no pair of certificate and key", where)
		}
	}
	if cluster.Server != "" {
		if config.REST.Host, err = endpoint("server in "+where, cluster.Server); err != nil {
			return Config{}, err
		}
	}
	if cluster.ProxyURL != "" {
		if config.ProxyURL, err = proxyURL("proxy-url in "+where, cluster.ProxyURL); err != nil {
			return Config{}, err
		}
	}
	return config, nil
}

func refuseReferences(where string, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
	switch {
	case user.Exec != nil:
		return malformed("%s uses an exec plug-in: the plane runs no programs of a kubeconfig", where)
	case user.AuthProvider != nil:
		return malformed("%s uses an auth-provider plug-in: the plane has none", where)
	}
	for _, ref := range []struct{ field, value, instead string }{
		{"client-certificate", user.ClientCertificate, "client-certificate-data"},
		{"client-key", user.ClientKey, "client-key-data"},
		{"tokenFile", user.TokenFile, "token"},
		{"certificate-authority", cluster.CertificateAuthority, "certificate-authority-data"},
	} {
		if ref.value != "" {
			return malformed("%s refers to a file by %s: put the content into %s (kubectl config view --flatten)", where, ref.field, ref.instead)
		}
	}
	return nil
}

// endpoint makes a URL of host, host:port or URL. Without a scheme it is https, always: a token must not travel in
// clear because somebody forgot the CA.
func endpoint(field, value string) (string, error) {
	if !strings.Contains(value, "://") {
		value = "https://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "", malformed("%s is no host, host:port or URL", field)
	}
	switch {
	case u.User != nil:
		return "", malformed("%s must not hold credentials", field)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", malformed("%s: the scheme %q is neither https nor http", field, u.Scheme)
	case u.Hostname() == "":
		return "", malformed("%s names no host", field)
	case u.RawQuery != "" || u.Fragment != "":
		return "", malformed("%s must not hold a query or a fragment", field)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", malformed("%s: %q is no port", field, port)
		}
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

func proxyURL(field, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return nil, malformed("%s is no URL", field)
	}
	switch u.Scheme {
	case "http", "https", "socks5":
		return u, nil
	}
	return nil, malformed("%s: the scheme %q is none of http, https, socks5", field, u.Scheme)
}

func disableValidations(config *Config, disabled []kubefedv1beta1.TLSValidation) error {
	for _, d := range disabled {
		switch d {
		case kubefedv1beta1.TLSAll:
			if len(disabled) > 1 {
				return malformed("spec.disabledTLSValidations: %q stands for all and must be alone", d)
			}
			config.REST.Insecure, config.REST.CAData = true, nil
		case kubefedv1beta1.TLSSubjectName:
			config.SkipSubjectName = true
		case kubefedv1beta1.TLSValidityPeriod:
			config.SkipValidityPeriod = true
		default:
			return malformed("spec.disabledTLSValidations: %q is none of *, SubjectName, ValidityPeriod", d)
		}
	}
	return nil
}
