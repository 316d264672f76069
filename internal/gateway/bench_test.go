package gateway_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"corral/internal/call"
	"corral/internal/config"
	"corral/internal/dispatch"
	"corral/internal/fleet"
	"corral/internal/gateway"
	"corral/internal/observe"
)

// BenchmarkPlain is a plain answer through the whole gateway on sockets, queue, metrics and log on: where a
// request's CPU time goes (-cpuprofile). The comparison with a budget is test/bench.
func BenchmarkPlain(b *testing.B) {
	backend := httptest.NewServer(http.HandlerFunc(answerAtOnce))
	defer backend.Close()
	u, err := url.Parse(backend.URL)
	if err != nil {
		b.Fatal(err)
	}
	c := config.Default()
	c.Instances = []config.Instance{{Name: "a", URL: u, Roles: []string{"generate"}, Slots: 1024}}
	snapshot := &atomic.Pointer[config.Config]{}
	snapshot.Store(&c)
	log := slog.New(slog.NewJSONHandler(devNull{}, nil))
	f := fleet.New(fleet.Options{Log: log, MaxWaiting: c.Queue.MaxWaiting})
	defer f.Close()
	if err := f.Apply(c.Instances); err != nil {
		b.Fatal(err)
	}
	f.Meet(b.Context(), time.Minute)
	o := observe.New(log, observe.State{Queue: func() dispatch.Snapshot { return f.Dispatcher().Snapshot() }, Instances: f.Views})
	front := httptest.NewServer(&gateway.Gateway{
		Fleet: f, Desk: &call.Desk{Queue: f.Dispatcher(), Fleet: f, Observer: o, Log: log},
		Metrics: o.Handler(), Log: log, Version: "test", Config: snapshot,
	})
	defer front.Close()
	body := chat("m", strings.Repeat("word ", 190))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := front.Client().Post(front.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status)
		}
	}
}

// devNull takes the log: its making is part of what is measured.
type devNull struct{}

func (devNull) Write(p []byte) (int, error) { return len(p), nil }

// answerAtOnce is an Ollama that costs next to nothing.
func answerAtOnce(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/api/version":
		_, _ = io.WriteString(w, `{"version":"0.33.0"}`)
	case "/api/tags":
		_, _ = io.WriteString(w, `{"models":[{"name":"m:latest","digest":"0123456789abcdef"}]}`)
	case "/api/ps":
		_, _ = io.WriteString(w, `{"models":[{"name":"m:latest","expires_at":"2099-01-01T00:00:00Z"}]}`)
	case "/api/show":
		_, _ = io.WriteString(w, `{"capabilities":["completion"]}`)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"`+strings.Repeat("word ", 180)+`"}}]}`)
	}
}
