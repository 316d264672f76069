package call

import (
	"net/http"
	"testing"
	"time"

	"corral/internal/dialect"
)

func TestRhythm(t *testing.T) {
	f := func(want time.Duration, header ...string) {
		t.Helper()
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		if got := rhythm(h); got != want {
			t.Errorf("%v: %s, want %s", header, got, want)
		}
	}
	f(15 * time.Second)
	f(15*time.Second, "X-Stainless-Read-Timeout", "600")
	f(4*time.Second, "X-Stainless-Read-Timeout", "12.0")
	f(time.Second, "X-Stainless-Timeout", "3", "X-Stainless-Read-Timeout", "600")
	f(100*time.Millisecond, "X-Stainless-Timeout", "0.01")
	// Nonsense announces nothing.
	for _, s := range []string{"", "0", "-5", "NaN", "Inf", "1e300", "soon"} {
		f(15*time.Second, "X-Stainless-Read-Timeout", s)
	}
}

func TestBears102(t *testing.T) {
	f := func(want bool, header ...string) {
		t.Helper()
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		if got := bears102(h); got != want {
			t.Errorf("%v: %v", header, got)
		}
	}
	f(true, "User-Agent", "AsyncOpenAI/Python 1.52.1")
	f(true, "User-Agent", "python-httpx/0.27.0")
	f(true, "User-Agent", "ollama-js/0.6.4 (x64 linux Node.js/v20)")
	f(false, "User-Agent", "python-httpx/0.27.0", "Via", "1.1 nginx")
	f(false, "User-Agent", "python-httpx/0.27.0", "X-Real-IP", "10.0.0.1")
	for _, agent := range []string{"", "python-requests/2.32", "OpenAI/JS 6.49", "axios/1.7", "Go-http-client/1.1", "Python/3.11 aiohttp/3.8", "curl/8"} {
		f(false, "User-Agent", agent)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if got := p.rest("a", 1<<20, 0); got != minHold {
		t.Errorf("nothing learned: %s", got)
	}
	p.observe("a", 1000, 10*time.Second)
	if got := p.rest("a", 1000, 4*time.Second); got != 6*time.Second {
		t.Errorf("%s left of a prefill of 10 s after 4 s", got)
	}
	if got := p.rest("a", 1_000_000, 0); got != maxHold {
		t.Errorf("a huge prompt holds for %s", got)
	}
	if got := p.rest("a", 1000, time.Hour); got != minHold {
		t.Errorf("a prefill that should be over holds for %s", got)
	}
	p.observe("a", 0, time.Second) // no prompt: no division by zero
}

func TestFull(t *testing.T) {
	status, message, retry := Full(dialect.Ollama)
	if status != 503 || message != "server busy, please try again.  maximum pending requests exceeded" || retry == "" {
		t.Errorf("%d %q %q", status, message, retry)
	}
	if status, _, _ := Full(dialect.OpenAI); status != 429 {
		t.Errorf("%d", status)
	}
}
