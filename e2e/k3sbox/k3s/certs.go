package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// authority is a CA whose files are NAME.crt and NAME.key.
type authority struct {
	dir, name string
	cert      *x509.Certificate
	key       crypto.Signer
}

const day = 24 * time.Hour

// openAuthority reads the CA or makes it, for ten years, as K3s does.
func openAuthority(dir, name string) (*authority, error) {
	a := &authority{dir: dir, name: name}
	cert, err := readCertificate(a.certFile())
	if err == nil {
		a.cert = cert
		a.key, err = readKey(filepath.Join(dir, name+".key"))
		return a, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := newKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("k3s-%s@%d", name, time.Now().Unix())},
		NotAfter:              time.Now().Add(3650 * day),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	a.key = key
	a.cert, err = sign(a.certFile(), t, t, key.Public(), key)
	return a, err
}

func (a *authority) certFile() string { return filepath.Join(a.dir, a.name+".crt") }

// leaf makes dir/NAME.crt and NAME.key, unless they are there, of this CA, for
// these hosts, and valid for 90 days more.
func (a *authority) leaf(dir, name string, subject pkix.Name, hosts ...string) error {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	if old, err := readCertificate(certFile); err == nil && a.serves(old, hosts) {
		if _, err := os.Stat(keyFile); err == nil {
			return nil
		}
	}
	key, err := newKey(keyFile)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		Subject:     subject,
		NotAfter:    time.Now().Add(365 * day),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	_, err = sign(certFile, t, a.cert, key.Public(), a.key)
	return err
}

func (a *authority) serves(c *x509.Certificate, hosts []string) bool {
	return c.CheckSignatureFrom(a.cert) == nil &&
		time.Until(c.NotAfter) > 90*day &&
		!slices.ContainsFunc(hosts, func(h string) bool { return c.VerifyHostname(h) != nil })
}

func sign(file string, t, parent *x509.Certificate, public any, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, err
	}
	t.SerialNumber, t.NotBefore = serial, time.Now().Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	if err != nil {
		return nil, err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if parent != t {
		// The chain, as a server shows it.
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: parent.Raw})...)
	}
	if err := replaceFile(file, b, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func newKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, replaceFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", file)
	}
	return block.Bytes, nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	der, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	return x509.ParseECPrivateKey(der)
}

// certificates makes what the parts show each other. Files have K3s's names.
func (s *supervisor) certificates() error {
	tls := s.path("server/tls")
	cas := map[string]*authority{}
	for _, name := range []string{"server-ca", "client-ca", "request-header-ca"} {
		var err error
		if cas[name], err = openAuthority(tls, name); err != nil {
			return err
		}
	}
	_, apiIP, err := s.serviceNetwork()
	if err != nil {
		return err
	}
	hosts := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.domain,
		"localhost", s.nodeName, "127.0.0.1", s.nodeIP, apiIP,
	}, s.tlsSAN...)
	user := func(name string, groups ...string) pkix.Name {
		return pkix.Name{CommonName: name, Organization: groups}
	}
	type leaf struct {
		ca, dir, name string
		subject       pkix.Name
		hosts         []string
	}
	for _, l := range []leaf{
		{"server-ca", tls, "serving-kube-apiserver", user("kube-apiserver"), hosts},
		{"client-ca", tls, "client-admin", user("system:admin", "system:masters"), nil},
		{"client-ca", tls, "client-supervisor", user("system:k3s-supervisor", "system:masters"), nil},
		{"client-ca", tls, "client-controller", user("system:kube-controller-manager"), nil},
		{"client-ca", tls, "client-scheduler", user("system:kube-scheduler"), nil},
		{"client-ca", tls, "client-kube-apiserver", user("system:apiserver", "system:masters"), nil},
		{"request-header-ca", tls, "client-auth-proxy", user("system:auth-proxy"), nil},
		{"client-ca", s.path("agent"), "client-kube-proxy", user("system:kube-proxy"), nil},
		{"client-ca", s.path("agent"), "client-kubelet", user("system:node:"+s.nodeName, "system:nodes"), nil},
		{"server-ca", s.path("agent"), "serving-kubelet", user(s.nodeName), []string{s.nodeName, "127.0.0.1", s.nodeIP}},
	} {
		if err := cas[l.ca].leaf(l.dir, l.name, l.subject, l.hosts...); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(tls, "service.key")); errors.Is(err, fs.ErrNotExist) {
		if _, err := newKey(filepath.Join(tls, "service.key")); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, ca := range []string{"server-ca", "client-ca"} {
		b, err := os.ReadFile(cas[ca].certFile())
		if err != nil {
			return err
		}
		if err := replaceFile(s.path("agent/"+ca+".crt"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serviceNetwork is the range of Services and the address of the API in it,
// which is its first.
func (s *supervisor) serviceNetwork() (*net.IPNet, string, error) {
	_, n, err := net.ParseCIDR(s.serviceCIDR)
	if err != nil {
		return nil, "", err
	}
	ip := slices.Clone(n.IP)
	ip[len(ip)-1]++
	return n, ip.String(), nil
}

// writeToken makes the token that other nodes would join with.
func (s *supervisor) writeToken() error {
	file := s.path("server/token")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	token := s.token
	if token == "" {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // never fails (crypto/rand)
		token = fmt.Sprintf("%x", b)
	}
	if !strings.HasPrefix(token, "K10") {
		token = fmt.Sprintf("K10%064x::server:%s", 0, token)
	}
	if err := replaceFile(file, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	link := s.path("server/node-token")
	if err := os.Symlink(file, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
