package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// The SDK's own numbers: openai-python 1.x, and FastGraphRAG's timeout.
const (
	sdkTimeout  = 180 * time.Second
	sdkRetries  = 2
	sdkBackoff  = 500 * time.Millisecond
	sdkMaxPause = 8 * time.Second
	sdkMaxAfter = 60 * time.Second // a longer Retry-After is not believed
)

// connectTimeout is generous: a busy machine must not look like a busy Ollama.
const connectTimeout = 20 * time.Second

// clientOptions say how patient a client is.
type clientOptions struct {
	timeout time.Duration // longest silence it bears once its request is sent
	speed   float64       // divides its pauses between attempts
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
}

// client behaves like many AsyncOpenAI clients of the OpenAI Python SDK 1.x, whose HTTP library is httpx: the
// timeout is one of silence and any byte resets it, 102 Processing too. It has no pool limit: each call stands
// for a client of its own.
type client struct {
	opt      clientOptions
	http     http.Client
	attempts atomic.Int64
}

func newClient(o clientOptions) *client {
	if o.dial == nil {
		o.dial = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	c := &client{opt: o}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := o.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &impatientConn{conn, o.timeout}, nil
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: maxCalls,
	}
	return c
}

func (c *client) close() { c.http.CloseIdleConnections() }

// impatientConn fails a read that waits too long. The wait begins anew with each read, and when a request was
// sent: net/http reads all the time, httpx only after it has written.
type impatientConn struct {
	net.Conn
	timeout time.Duration
}

func (c *impatientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *impatientConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(c.timeout))
	}
	return n, err
}

// kind is a way in which a call fails.
type kind int

const (
	timedOut kind = iota
	busy          // 503
	broken        // no connection, or one that broke
	refused       // another status, or an answer that is not right
	kinds
)

var kindNames = [kinds]string{"timeout", "503", "connection", "other"}

// failure is the end of an attempt that brought no answer.
type failure struct {
	kind  kind
	err   error
	retry bool
	after time.Duration // what the server asked to wait; 0: nothing
}

func (f *failure) Error() string { return kindNames[f.kind] + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// post sends a request until it is answered, at most 1+sdkRetries times.
func (c *client) post(ctx context.Context, url string, body []byte) ([]byte, *failure) {
	for n := 0; ; n++ {
		answer, f := c.attempt(ctx, url, body, n)
		if f == nil || !f.retry || n == sdkRetries || ctx.Err() != nil {
			return answer, f
		}
		timer := time.NewTimer(c.pause(n, f.after))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, f
		}
	}
}

// pause is how long the SDK waits after its n-th attempt, from 0.
func (c *client) pause(n int, after time.Duration) time.Duration {
	if after > 0 && after <= sdkMaxAfter {
		return after
	}
	pause := min(sdkBackoff<<n, sdkMaxPause)
	jitter := 1 - 0.25*rand.Float64()
	return time.Duration(float64(pause) * jitter / c.opt.speed)
}

func (c *client) attempt(ctx context.Context, url string, body []byte, n int) ([]byte, *failure) {
	c.attempts.Add(1)
	// With this hook net/http takes any number of interim responses, as httpx does.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, &failure{kind: refused, err: err}
	}
	c.sign(req.Header, n)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, broke(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, broke(err)
	case resp.StatusCode >= http.StatusMultipleChoices:
		return nil, refusal(resp, answer)
	}
	return answer, nil
}

// sign adds the headers of the SDK.
func (c *client) sign(h http.Header, n int) {
	for name, value := range map[string]string{
		"Accept":                      "application/json",
		"Authorization":               "Bearer ollama",
		"Content-Type":                "application/json",
		"User-Agent":                  "AsyncOpenAI/Python 1.109.1",
		"X-Stainless-Arch":            "x64",
		"X-Stainless-Async":           "async:asyncio",
		"X-Stainless-Lang":            "python",
		"X-Stainless-Os":              "Linux",
		"X-Stainless-Package-Version": "1.109.1",
		"X-Stainless-Read-Timeout":    strconv.FormatFloat(c.opt.timeout.Seconds(), 'f', -1, 64),
		"X-Stainless-Retry-Count":     strconv.Itoa(n),
		"X-Stainless-Runtime":         "CPython",
		"X-Stainless-Runtime-Version": "3.12.3",
	} {
		h.Set(name, value)
	}
}

// broke is the failure of a connection. The SDK tries again after any.
func broke(err error) *failure {
	f := &failure{kind: broken, err: err, retry: true}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.kind = timedOut
	}
	return f
}

// refusal is an answer with an error status.
func refusal(resp *http.Response, body []byte) *failure {
	status := resp.StatusCode
	f := &failure{kind: refused, err: fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(body))}
	if status == http.StatusServiceUnavailable {
		f.kind = busy
	}
	switch resp.Header.Get("X-Should-Retry") {
	case "true":
		f.retry = true
	case "false":
	default:
		f.retry = status == http.StatusRequestTimeout || status == http.StatusConflict ||
			status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
	}
	f.after = retryAfter(resp.Header)
	return f
}

// retryAfter reads what a server asks its clients to wait, in the SDK's order; 0: nothing.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return time.Duration(ms * float64(time.Millisecond))
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return time.Until(at)
	}
	return 0
}
