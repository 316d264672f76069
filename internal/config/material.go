package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret bounds what is read for one secret or certificate bundle, in bytes.
const maxSecret = 1 << 20

// resolve returns the text that v stands for: a file's content for file:PATH, a variable's for
// env:NAME, else v itself.
func (l loader) resolve(v value) (string, error) {
	if path, ok := strings.CutPrefix(v.text, "file:"); ok {
		return l.read(v.at, path)
	}
	name, ok := strings.CutPrefix(v.text, "env:")
	if !ok {
		return v.text, nil
	}
	text, ok := l.env[name]
	if !ok || text == "" {
		return "", v.at.fail("Set it where Corral is started.", "the environment variable %s is not set", name)
	}
	return text, nil
}

// read returns the content of a file named in the configuration.
func (l loader) read(at place, path string) (string, error) {
	full := resolvePath(l.dir, path)
	content, err := readRegular(full)
	if err != nil {
		return "", at.fail("Check the path (relative ones begin at the configuration file) and who may read the file.", "%s: %s", full, reason(err))
	}
	return content, nil
}

func resolvePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readRegular reads a file that is no pipe or device: those could block or never end.
func readRegular(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(content) > maxSecret {
		err = fmt.Errorf("larger than %s", ByteSize(maxSecret))
	}
	return string(content), err
}

// tls reads and checks the certificates of an instance.
func (l loader) tls(s instanceSettings, i *Instance) error {
	for _, v := range []value{s.ca, s.cert, s.key} {
		if v.set && i.URL.Scheme != "https" {
			return v.at.fail("Write https:// in the instance's url, or remove this.", "has no effect: the instance's URL is not https")
		}
	}
	if s.ca.set {
		pem, err := l.pem(s.ca)
		if err != nil {
			return err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return s.ca.at.fail("Name a PEM file; it begins with -----BEGIN CERTIFICATE-----.", "no certificate in it")
		}
		i.CA, i.CAPEM = s.ca.text, pem
	}
	if s.cert.set != s.key.set {
		given := s.cert
		if s.key.set {
			given = s.key
		}
		return given.at.fail("Give both: client_cert: {cert: client.pem, key: client.key}.", "cert and key need each other")
	}
	if !s.cert.set {
		return nil
	}
	return l.clientCert(s, i)
}

func (l loader) clientCert(s instanceSettings, i *Instance) error {
	cert, err := l.pem(s.cert)
	if err != nil {
		return err
	}
	key, err := l.pem(s.key)
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return s.cert.at.fail("Check that both are PEM and belong together.", "not usable with its key: %v", err)
	}
	i.ClientCert, i.ClientCertPEM = s.cert.text, cert
	i.ClientKey, i.ClientKeyPEM = s.key.text, key
	return nil
}

// ownTLS reads and checks the certificate that Corral shows to clients.
func (l loader) ownTLS(s settings) (TLS, error) {
	if s.tlsCert.set != s.tlsKey.set {
		given := s.tlsCert
		if s.tlsKey.set {
			given = s.tlsKey
		}
		return TLS{}, given.at.fail("Give both: tls: {cert: corral.pem, key: corral.key}.", "cert and key need each other")
	}
	if !s.tlsCert.set {
		return TLS{}, nil
	}
	cert, err := l.pem(s.tlsCert)
	if err != nil {
		return TLS{}, err
	}
	key, err := l.pem(s.tlsKey)
	if err != nil {
		return TLS{}, err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return TLS{}, s.tlsCert.at.fail("Check that both are PEM and belong together.", "not usable with its key: %v", err)
	}
	return TLS{Cert: s.tlsCert.text, CertPEM: cert, Key: s.tlsKey.text, KeyPEM: key}, nil
}

// pem returns the content of a PEM file, or of a variable for env:NAME.
func (l loader) pem(v value) ([]byte, error) {
	if strings.Contains(v.text, "-----BEGIN") {
		return nil, v.at.fail("Put it into a file and name that, or into a variable and write env:NAME.", "PEM text where a file's name is wanted")
	}
	if !strings.HasPrefix(v.text, "env:") {
		v.text = "file:" + strings.TrimPrefix(v.text, "file:")
	}
	text, err := l.resolve(v)
	return []byte(text), err
}
