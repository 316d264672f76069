// Package relay carries one attempt: a granted request to its instance, and the answer back.
package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Target is how one instance is reached.
type Target struct {
	Name   string
	URL    *url.URL    // scheme, host and perhaps a path prefix
	Header http.Header // sent with every request; may hold secrets, so it is never logged
	Client http.RoundTripper
}

// LoopHeader marks every request that Corral sends. One that arrives with it came round in a circle.
const LoopHeader = "X-Corral-Via"

// DialFunc opens a connection.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// NewTransport is a transport for one instance. It has no timeout for headers, because Ollama sends none
// before its first token, and no compression: answers pass as they come. HTTP/1.1 only, as Ollama speaks it.
func NewTransport(dial DialFunc) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		Protocols:           http1(),
	}
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// At is the address of a path (with query, if any) on the instance.
func (t *Target) At(uri string) *url.URL {
	u := *t.URL
	path, query, _ := strings.Cut(uri, "?")
	u.RawQuery = query
	joined := strings.TrimSuffix(t.URL.EscapedPath(), "/") + path
	if p, err := url.PathUnescape(joined); err == nil {
		u.Path, u.RawPath = p, joined
	}
	return &u
}

// Do sends a request with a body that is in memory. Headers are those of the client, not yet cleaned.
func (t *Target) Do(ctx context.Context, method, uri string, header http.Header, body []byte) (*http.Response, error) {
	req := (&http.Request{
		Method: method, URL: t.At(uri), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(header)+len(t.Header)+1), ContentLength: int64(len(body)), Host: t.URL.Host,
	}).WithContext(ctx)
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	t.PrepareHeader(req.Header, header)
	return t.Client.RoundTrip(req)
}

// PrepareHeader fills the headers for the instance from those of the client.
func (t *Target) PrepareHeader(to, from http.Header) {
	for name, values := range from {
		if passesUp(name) {
			to[name] = values
		}
	}
	for _, value := range from["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			to.Del(strings.TrimSpace(name))
		}
	}
	if _, ok := to["User-Agent"]; !ok {
		to["User-Agent"] = nil // a client without one stays without one
	}
	to[LoopHeader] = []string{"1"}
	maps.Copy(to, t.Header)
}

// passesUp says whether a client's header goes to the instance. What stays here: hop-by-hop headers, those
// that Corral has judged itself (host, origin, credentials), and Idempotency-Key, which would make net/http
// replay requests by itself.
func passesUp(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te",
		"Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Host", "Content-Length",
		"Origin", "Authorization", "X-Api-Key", "Api-Key", "Cookie", "Accept-Encoding",
		"Idempotency-Key", "X-Idempotency-Key":
		return false
	}
	return !strings.HasPrefix(name, "X-Corral-")
}

// CopyHeader gives an instance's headers to the client, without what belongs to the connection between
// Corral and the instance, or would contradict what Corral says itself.
func CopyHeader(to, from http.Header) {
	for name, values := range from {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Authenticate", "Trailer", "Transfer-Encoding", "Upgrade",
			"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary", "Date":
		default:
			to[name] = values
		}
	}
}

// Unstarted says whether an attempt ended before the instance did any work: no connection came about.
func Unstarted(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}
