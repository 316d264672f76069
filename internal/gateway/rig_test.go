package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/call"
	"corral/internal/config"
	"corral/internal/fleet"
	"corral/internal/gateway"
	"corral/internal/manage"
	"corral/ollamatest"
)

// corralAddr is where the Corral of a rig listens.
const corralAddr = "127.0.0.1:11435"

// rig is clients, a Corral and instances in one bubble of virtual time, connected by pipes.
type rig struct {
	*testing.T
	net     *ollamatest.Net
	servers map[string]*ollamatest.Server
	fronts  map[string]http.Handler
	stops   map[string]func()
	fleet   *fleet.Fleet
	desk    *call.Desk
	config  *atomic.Pointer[config.Config]
	client  *http.Client
	start   time.Time

	mu      sync.Mutex
	records []call.Record
}

// Observe implements call.Observer.
func (g *rig) Observe(r call.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.records = append(g.records, r)
}

// last is the record of the call that ended last.
func (g *rig) last() call.Record {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.records) == 0 {
		g.Fatal("no call has ended")
	}
	return g.records[len(g.records)-1]
}

// models is what every instance has, unless a test says otherwise.
var models = []ollamatest.Model{{Name: "m1"}, {Name: "m2"}, {Name: "emb", Capabilities: []string{"embedding"}}}

// instance describes an Ollama of a rig and how Corral is told to use it.
type instance struct {
	name    string
	options ollamatest.Options
	slots   int
	roles   []string
	down    bool                                   // not there at the start
	front   func(ollama http.Handler) http.Handler // what stands before it; nil for nothing
}

// bubble runs f with a Corral in front of instances, in virtual time.
func bubble(t *testing.T, instances []instance, f func(g *rig)) {
	t.Helper()
	bubbleWaiting(t, instances, config.Default().Queue.MaxWaiting, f)
}

// bubbleWaiting is bubble with another bound of the queue.
func bubbleWaiting(t *testing.T, instances []instance, maxWaiting int, f func(g *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, instances, maxWaiting)
		f(g)
		g.close()
	})
}

func newRig(t *testing.T, instances []instance, maxWaiting int) *rig {
	g := &rig{
		T: t, net: &ollamatest.Net{}, servers: map[string]*ollamatest.Server{}, fronts: map[string]http.Handler{}, stops: map[string]func(){},
		config: &atomic.Pointer[config.Config]{}, start: time.Now(),
	}
	c := config.Default()
	for i, in := range instances {
		if in.options.Models == nil {
			in.options.Models = models
		}
		g.servers[in.name] = ollamatest.New(in.options)
		g.fronts[in.name] = g.servers[in.name]
		if in.front != nil {
			g.fronts[in.name] = in.front(g.servers[in.name])
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 21434+i)
		if !in.down {
			g.up(in.name, addr)
		}
		if in.roles == nil {
			in.roles = []string{"generate", "embed"}
		}
		c.Instances = append(c.Instances, config.Instance{
			Name: in.name, URL: &url.URL{Scheme: "http", Host: addr}, Roles: in.roles, Slots: in.slots,
		})
	}
	g.config.Store(&c)
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.fleet = fleet.New(fleet.Options{Log: log, MaxWaiting: maxWaiting, Dial: g.net.DialContext})
	if err := g.fleet.Apply(c.Instances); err != nil {
		t.Fatal(err)
	}
	g.fleet.Meet(t.Context(), time.Minute)
	g.start = time.Now()
	g.desk = &call.Desk{Queue: g.fleet.Dispatcher(), Fleet: g.fleet, Observer: g, Log: log}
	handler := &gateway.Gateway{
		Fleet: g.fleet, Desk: g.desk, Models: &manage.Desk{Fleet: g.fleet, Log: log},
		Metrics: http.NotFoundHandler(), Log: log, Version: "test", Config: g.config,
	}
	stop, err := g.net.Serve(corralAddr, handler)
	if err != nil {
		t.Fatal(err)
	}
	g.stops["corral"] = stop
	g.client = g.net.Client()
	return g
}

// up connects an instance to the network.
func (g *rig) up(name, addr string) {
	stop, err := g.net.Serve(addr, g.fronts[name])
	if err != nil {
		g.Fatal(err)
	}
	g.stops[name] = stop
}

// kill cuts an instance off: its connections break, new ones are refused.
func (g *rig) kill(name string) {
	g.stops[name]()
	delete(g.stops, name)
}

func (g *rig) close() {
	g.client.CloseIdleConnections()
	for _, stop := range g.stops {
		stop()
	}
	g.fleet.Close()
	for _, s := range g.servers {
		s.Close()
	}
	time.Sleep(time.Minute) // slots that are still held come back
	if s := g.fleet.Dispatcher().Snapshot(); s.Running != 0 || s.Waiting != 0 {
		g.Errorf("left behind: %+v", s)
	}
	for name, s := range g.servers {
		for model, n := range s.Stats().MaxWaiting {
			if n > 0 {
				g.Errorf("%d requests for %s waited inside %s", n, model, name)
			}
		}
	}
}

// pass lets virtual time go by.
func (g *rig) pass(d time.Duration) { time.Sleep(d) }

// answer is what a client got.
type answer struct {
	status    int
	header    http.Header
	trailer   http.Header
	body      string
	err       error // while connecting or reading
	at        time.Duration
	processed int // 102 answers before the real one
	pieces    []piece
}

// piece is one read of a body.
type piece struct {
	at   time.Duration
	text string
}

func (g *rig) do(ctx context.Context, method, path, body string, header ...string) answer {
	var a answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			if code == http.StatusProcessing {
				a.processed++
			}
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, method, "http://"+corralAddr+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return answer{err: err, at: time.Since(g.start)}
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	buf := make([]byte, 32<<10)
	var whole bytes.Buffer
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			a.pieces = append(a.pieces, piece{time.Since(g.start), string(buf[:n])})
			whole.Write(buf[:n])
		}
		if err != nil {
			if err != io.EOF {
				a.err = err
			}
			break
		}
	}
	a.trailer = resp.Trailer
	a.body, a.at = whole.String(), time.Since(g.start)
	return a
}

func (g *rig) post(path, body string, header ...string) answer {
	return g.do(context.Background(), http.MethodPost, path, body, header...)
}

func (g *rig) get(path string, header ...string) answer {
	return g.do(context.Background(), http.MethodGet, path, "", header...)
}

// chat is the body of a plain chat whose cost a prompt's directives decide.
func chat(model, prompt string) string {
	body, err := json.Marshal(map[string]any{
		"model": model, "stream": false, "messages": []any{map[string]any{"role": "user", "content": prompt}},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// streamed is chat with stream: true.
func streamed(model, prompt string) string {
	return strings.Replace(chat(model, prompt), `"stream":false`, `"stream":true`, 1)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
