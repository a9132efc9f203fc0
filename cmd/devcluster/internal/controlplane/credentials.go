package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// serviceIP is the first address of serviceRange, which the Service `kubernetes` gets.
const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1"
)

// User is somebody the API server knows by a token.
type User struct {
	Name   string
	Groups []string
	Token  string
}

// Names of users. Admin and the components are in system:masters; Nobody and Viewer have no rights until a
// RoleBinding gives them some.
const (
	Admin  = "admin"
	Nobody = "nobody"
	Viewer = "viewer"
)

const masters = "system:masters"

// credentials are the secrets of one control plane, new for each start.
type credentials struct {
	ca    []byte // PEM
	users map[string]User
}

// newCredentials makes keys, certificates and tokens and writes what the components read into dir.
func newCredentials(dir *Dir) (*credentials, error) {
	if err := os.MkdirAll(dir.file(credentialsDir), 0o700); err != nil {
		return nil, err
	}
	write := func(name string, text []byte) error {
		return os.WriteFile(dir.file(credentialsDir, name), text, 0o600)
	}

	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "devcluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caPEM, err := certificate(ca, ca, caKey, caKey)
	if err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP)},
	}
	serverPEM, err := certificate(server, ca, serverKey, caKey)
	if err != nil {
		return nil, err
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}

	c := &credentials{ca: caPEM, users: map[string]User{}}
	var tokens strings.Builder
	for _, u := range []User{
		{Name: Admin, Groups: []string{masters}},
		{Name: Nobody},
		{Name: Viewer},
		{Name: "system:kube-controller-manager", Groups: []string{masters}},
		{Name: "system:kube-scheduler", Groups: []string{masters}},
		{Name: "kwok", Groups: []string{masters}},
	} {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return nil, err
		}
		u.Token = hex.EncodeToString(secret)
		c.users[u.Name] = u
		fmt.Fprintf(&tokens, "%s,%s,%s", u.Token, u.Name, u.Name)
		// An empty column would be a group without a name.
		if len(u.Groups) > 0 {
			fmt.Fprintf(&tokens, ",%q", strings.Join(u.Groups, ","))
		}
		tokens.WriteString("\n")
	}
	for name, key := range map[string]*ecdsa.PrivateKey{"server.key": serverKey, "service-account.key": accountKey} {
		text, err := keyPEM(key)
		if err != nil {
			return nil, err
		}
		if err := write(name, text); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string][]byte{"ca.crt": caPEM, "server.crt": serverPEM, "tokens.csv": []byte(tokens.String())} {
		if err := write(name, text); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// certificate signs template, which is valid for ten years, and returns it as PEM.
func certificate(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	// An hour back, because a clock that is set while the cluster starts would make the certificate one of the future.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.AddDate(10, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
