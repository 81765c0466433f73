package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
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

// A self-signed certificate lies in the data folder, so that a device that trusted it once is not asked again.
const (
	selfSignedCert  = "self-signed.crt"
	selfSignedKey   = "self-signed.key"
	selfSignedLife  = 397 * 24 * time.Hour // browsers take no longer ones
	selfSignedRenew = 30 * 24 * time.Hour  // before its end a new one is made
)

// certificate returns what the server shows, nil for plain HTTP.
func (s *serveCmd) certificate() (*tls.Certificate, error) {
	switch {
	case s.TLSSelfSigned && s.TLSCert != "":
		return nil, badFlag("--tls-self-signed makes a certificate of its own: leave out --tls-cert and --tls-key")
	case (s.TLSCert == "") != (s.TLSKey == ""):
		return nil, badFlag("--tls-cert and --tls-key go together: give both")
	case s.TLSSelfSigned:
		return s.selfSigned()
	case s.TLSCert != "":
		pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return nil, badFlag("--tls-cert, --tls-key: %v", err)
		}
		return &pair, nil
	}
	return nil, nil //nolint:nilnil // plain HTTP is no error
}

// selfSigned reads the certificate of the data folder, or makes one for every name and address of this machine.
func (s *serveCmd) selfSigned() (*tls.Certificate, error) {
	certFile, keyFile := filepath.Join(s.DataDir, selfSignedCert), filepath.Join(s.DataDir, selfSignedKey)
	names, addresses, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("--tls-self-signed: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && covers(pair.Leaf, names, addresses) {
		return &pair, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--tls-self-signed: %w: remove %s and %s to have new ones", err, certFile, keyFile)
	}
	cert, key, err := makeCertificate(names, addresses)
	if err != nil {
		return nil, fmt.Errorf("--tls-self-signed: %w", err)
	}
	if err := errors.Join(os.WriteFile(keyFile, key, 0o600), os.WriteFile(certFile, cert, 0o644)); err != nil { //nolint:gosec // a certificate is public
		return nil, fmt.Errorf("--tls-self-signed: %w", err)
	}
	pair, err = tls.X509KeyPair(cert, key)
	return &pair, err
}

// names are what this machine can be reached by.
func (s *serveCmd) names() (names []string, addresses []net.IP, err error) {
	names = []string{"localhost"}
	if host, err := os.Hostname(); err == nil && !slices.Contains(names, host) {
		names = append(names, host, host+".local")
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err == nil && host != "" && net.ParseIP(host) == nil && !slices.Contains(names, host) {
		names = append(names, host)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, err
	}
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			addresses = append(addresses, ip.IP)
		}
	}
	return names, addresses, nil
}

// covers says whether a certificate still serves for these names.
func covers(leaf *x509.Certificate, names []string, addresses []net.IP) bool {
	if leaf == nil || time.Until(leaf.NotAfter) < selfSignedRenew {
		return false
	}
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	for _, a := range addresses {
		if leaf.VerifyHostname(a.String()) != nil {
			return false
		}
	}
	return true
}

func makeCertificate(names []string, addresses []net.IP) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Parley " + names[0]}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		DNSNames: names, IPAddresses: addresses, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

// fingerprint is the SHA-256 of a certificate as browsers show it.
func fingerprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
