package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/internal/config"
	"corral/internal/relay"
)

// pair makes a certificate for 127.0.0.1 and its key, and adds it to a pool of trusted ones.
func pair(t *testing.T, name string, pool *x509.CertPool) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// secure serves a handler with a certificate on a port of its own.
func secure(t *testing.T, handler http.Handler, cert, key []byte) (url string, conns func() int) {
	t.Helper()
	var mu sync.Mutex
	opened := 0
	log := slog.New(slog.DiscardHandler)
	s := &server{Options: Options{Log: log}, http: newHTTP(handler, log)}
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if state == http.StateNew {
			opened++
		}
	}
	s.config.Store(&config.Config{TLS: config.TLS{Cert: "c", CertPEM: cert, KeyPEM: key}})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.serve(l)
	}()
	t.Cleanup(func() {
		_ = s.http.Close()
		<-done
	})
	return "https://" + l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return opened
	}
}

func client(t *testing.T, pool *x509.CertPool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestManyStreams: all calls of a GraphRAG run wait at once on one connection, and all are answered.
func TestManyStreams(t *testing.T) {
	const calls = maxStreams
	pool := x509.NewCertPool()
	cert, key := pair(t, "corral", pool)
	var waiting sync.WaitGroup
	waiting.Add(calls)
	base, conns := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/first" {
			waiting.Done()
			waiting.Wait() // nobody is answered before everybody is here
		}
		fmt.Fprint(w, r.Proto)
	}), cert, key)
	c := client(t, pool)
	var all sync.WaitGroup
	answers := make([]string, calls)
	// One connection is there already, else the client dials for every call until it knows that one is enough.
	first, err := c.Get(base + "/first")
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Body.Close()
	ask := func(i int) {
		resp, err := c.Post(base+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
		if err != nil {
			answers[i] = err.Error()
			waiting.Done()
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		answers[i] = fmt.Sprint(string(body), err)
	}
	for i := range calls {
		all.Go(func() { ask(i) })
	}
	all.Wait()
	for i, a := range answers {
		if a != "HTTP/2.0<nil>" {
			t.Fatalf("call %d: %s", i, a)
		}
	}
	if n := conns(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestCutAnswer: an answer that breaks off after status 200 is an error on HTTP/2 too, and its connection lives on.
func TestCutAnswer(t *testing.T) {
	pool := x509.NewCertPool()
	cert, key := pair(t, "corral", pool)
	base, conns := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/whole" {
			return
		}
		_, _ = w.Write([]byte("   "))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), cert, key)
	c := client(t, pool)
	for _, path := range []string{"/cut", "/whole"} {
		resp, err := c.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if (err != nil) != (path == "/cut") || resp.ProtoMajor != 2 {
			t.Errorf("%s over %s: %v", path, resp.Proto, err)
		}
	}
	if conns() != 1 {
		t.Errorf("%d connections", conns())
	}
}

// TestInstancesSpeakHTTP1: an instance behind a TLS proxy that offers HTTP/2 is spoken to in HTTP/1.1, as Ollama
// itself is.
func TestInstancesSpeakHTTP1(t *testing.T) {
	instance := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	instance.EnableHTTP2 = true
	instance.StartTLS()
	defer instance.Close()
	u, err := url.Parse(instance.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := relay.NewTransport(nil)
	transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	transport.TLSClientConfig.RootCAs.AddCert(instance.Certificate())
	defer transport.CloseIdleConnections()
	target := relay.Target{URL: u, Client: transport}
	resp, err := target.Do(t.Context(), http.MethodGet, "/api/version", http.Header{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/1.1" {
		t.Errorf("spoken to in %s", body)
	}
}

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestCertificateReload: a renewed certificate is shown to new connections, while a request on an old one goes on;
// a broken one is refused and the old stays. The files are swapped as Kubernetes does, by a link.
func TestCertificateReload(t *testing.T) {
	dir, pool := t.TempDir(), x509.NewCertPool()
	var secrets []string
	put := func(folder, name string) {
		cert, key := pair(t, name, pool)
		secrets = append(secrets, strings.Split(string(key), "\n")[1])
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
			if err := os.WriteFile(filepath.Join(dir, folder, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap := func(folder string) {
		link := filepath.Join(dir, "new")
		if err := os.Symlink(folder, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	put("1", "first")
	put("2", "second")
	put("3", "third")
	swap("1")
	for _, file := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("data", file), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	o := config.Options{Env: []string{
		"CORRAL_LISTEN=" + addr, "CORRAL_INSTANCES=http://127.0.0.1:1",
		"CORRAL_TLS_CERT=" + filepath.Join(dir, "tls.crt"), "CORRAL_TLS_KEY=" + filepath.Join(dir, "tls.key"),
	}}
	var log, out safeBuffer
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Load: func() (*config.Config, error) { return config.Load(o) }, Files: o.Files(), Drain: time.Minute,
			Version: "test", Out: &out, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
	}()
	shown := func() string {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
		if err != nil {
			return ""
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not seen\n%s\n%s", what, &log, &out)
			}
		}
	}
	await("first certificate", func() bool { return shown() == "first" })
	old := client(t, pool)
	health := func() {
		t.Helper()
		resp, err := old.Get("https://" + addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if name := resp.TLS.PeerCertificates[0].Subject.CommonName; name != "first" {
			t.Errorf("the old connection is gone: %s", name)
		}
	}
	health()
	swap("2")
	await("second certificate", func() bool { return shown() == "second" })
	health()
	if err := os.WriteFile(filepath.Join(dir, "3", "tls.key"), []byte("-----BEGIN rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	swap("3")
	await("refusal", func() bool { return strings.Contains(log.String(), "configuration refused") })
	if got := shown(); got != "second" {
		t.Errorf("after a broken certificate %q is shown", got)
	}
	if !strings.Contains(out.String(), "https://"+addr) {
		t.Errorf("the welcome does not say https: %s", &out)
	}
	stop()
	old.CloseIdleConnections()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, s := range secrets {
		if strings.Contains(log.String()+out.String(), s) {
			t.Error("a key is shown")
		}
	}
}
