package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
)

// The files that kube-apiserver reads, in the server's folder.
const (
	caFile      = "ca.crt"
	certFile    = "apiserver.crt"
	keyFile     = "apiserver.key"
	accountFile = "service-account.key"
)

// authority is a throw-away certificate authority, whose key never leaves
// memory.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// until is when all of its certificates end: a run takes minutes.
	until time.Time
}

func newAuthority() (authority, error) {
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	a := authority{key: key, until: time.Now().Add(7 * 24 * time.Hour)}
	template := a.template("labctl")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// template is a certificate that is valid since an hour ago, so that a clock
// that is put right meanwhile does no harm.
func (a authority) template(name string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     a.until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// sign gives a certificate and its new key in PEM.
func (a authority) sign(template *x509.Certificate) (cert, key []byte, err error) {
	k, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(k)
	return encode("CERTIFICATE", der), key, err
}

func keyPEM(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	return encode("EC PRIVATE KEY", der), err
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// certificates writes what kube-apiserver reads to dir and gives what a client
// of the group system:masters needs.
func certificates(dir string) (rest.TLSClientConfig, error) {
	var client rest.TLSClientConfig
	ca, err := newAuthority()
	if err != nil {
		return client, err
	}
	server := ca.template("kube-apiserver")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	serverCert, serverKey, err := ca.sign(server)
	if err != nil {
		return client, err
	}
	account, err := newKey()
	if err != nil {
		return client, err
	}
	accountKey, err := keyPEM(account)
	if err != nil {
		return client, err
	}
	admin := ca.template("labctl", "system:masters")
	admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	client.CAData = encode("CERTIFICATE", ca.cert.Raw)
	if client.CertData, client.KeyData, err = ca.sign(admin); err != nil {
		return client, err
	}
	for name, content := range map[string][]byte{
		caFile: client.CAData, certFile: serverCert, keyFile: serverKey, accountFile: accountKey,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return client, err
		}
	}
	return client, nil
}
