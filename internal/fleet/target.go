package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"corral/internal/config"
	"corral/internal/relay"
)

// newTarget makes what an instance's configuration says of reaching it.
func newTarget(c config.Instance, dial relay.DialFunc) (*relay.Target, error) {
	transport := relay.NewTransport(dial)
	if len(c.CAPEM) > 0 || len(c.ClientCertPEM) > 0 {
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if len(c.CAPEM) > 0 {
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(c.CAPEM) {
				return nil, errors.New("ca: no certificate in it")
			}
		}
		if len(c.ClientCertPEM) > 0 {
			cert, err := tls.X509KeyPair(c.ClientCertPEM, c.ClientKeyPEM)
			if err != nil {
				return nil, fmt.Errorf("client_cert: %w", err)
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		transport.TLSClientConfig = conf
	}
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, value.Reveal())
	}
	return &relay.Target{Name: c.Name, URL: c.URL, Header: header, Client: transport}, nil
}
