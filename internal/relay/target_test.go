package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"

	"corral/internal/relay"
)

func TestTargetAt(t *testing.T) {
	f := func(base, uri, want string) {
		t.Helper()
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&relay.Target{URL: u}).At(uri).String(); got != want {
			t.Errorf("%s + %s = %s, want %s", base, uri, got, want)
		}
	}
	f("http://a:11434", "/api/chat", "http://a:11434/api/chat")
	f("http://a:11434/ollama", "/api/tags?x=1&y", "http://a:11434/ollama/api/tags?x=1&y")
	f("http://a/ollama/", "/v1/models/hf.co%2Fx", "http://a/ollama/v1/models/hf.co%2Fx")
	f("https://a", "//api/tags", "https://a//api/tags")
}

func TestPrepareHeader(t *testing.T) {
	target := &relay.Target{Header: http.Header{"Authorization": {"Bearer instance"}}}
	to := http.Header{}
	target.PrepareHeader(to, http.Header{
		"Authorization": {"Bearer client"}, "Connection": {"close, X-Mine"}, "X-Mine": {"1"}, "Content-Type": {"application/json"},
		"X-Corral-Deadline": {"1s"}, "Origin": {"http://x"}, "Accept": {"a", "b"},
	})
	if got := to.Get("Authorization"); got != "Bearer instance" {
		t.Errorf("Authorization %q", got)
	}
	for _, name := range []string{"Connection", "X-Mine", "X-Corral-Deadline", "Origin"} {
		if to.Get(name) != "" {
			t.Errorf("%s passed", name)
		}
	}
	if to.Get(relay.LoopHeader) == "" || len(to["Accept"]) != 2 || to.Get("Content-Type") != "application/json" {
		t.Errorf("%v", to)
	}
	if agent, ok := to["User-Agent"]; !ok || agent != nil {
		t.Errorf("User-Agent %q: Go's own would be added", agent)
	}
}

func TestUnstarted(t *testing.T) {
	_, refused := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	f := func(err error, want bool) {
		t.Helper()
		if got := relay.Unstarted(err); got != want {
			t.Errorf("Unstarted(%v) = %v", err, got)
		}
	}
	f(fmt.Errorf("chat: %w", refused), true)
	f(&net.DNSError{Err: "no such host", Name: "gone"}, true)
	f(&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, false)
	f(context.Canceled, false)
	f(nil, false)
}
