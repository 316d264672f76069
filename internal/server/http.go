package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"corral/internal/config"
)

// Limits of a client's HTTP/2 connection.
const (
	maxStreams  = 10_000           // requests at once: a whole GraphRAG run fits into one connection
	pingAfter   = 30 * time.Second // of silence
	pingTimeout = 15 * time.Second // then its streams end, and what they hold is free
	// writeTimeout is how long nothing may go out to a client that has something to read.
	writeTimeout = time.Minute
	// receiveMost bounds what a connection's streams may have sent unread, in bytes, all together.
	receiveMost = 1 << 20
)

// newHTTP is the server for clients. It has no timeouts but for headers: an answer may take hours.
func newHTTP(handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // over TLS
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: receiveMost,
			MaxReceiveBufferPerStream:     receiveMost,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              writeTimeout,
		},
	}
}

// certificate is what new connections are shown. It may change while others live.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// set takes a certificate that config has checked, and warns of one that clients will refuse.
func (c *certificate) set(t config.TLS, log *slog.Logger) error {
	pair, err := tls.X509KeyPair(t.CertPEM, t.KeyPEM)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if leaf, err := x509.ParseCertificate(pair.Certificate[0]); err == nil && time.Now().After(leaf.NotAfter) {
		log.Warn("the certificate has expired: clients will refuse it", "cert", t.Cert, "expired", leaf.NotAfter)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
