package manage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/config"
	"corral/internal/fleet"
	"corral/internal/manage"
	"corral/ollamatest"
)

const deskAddr = "127.0.0.1:11435"

// rig is a client, a desk and instances in one bubble of virtual time.
type rig struct {
	*testing.T
	net     *ollamatest.Net
	servers map[string]*ollamatest.Server
	fronts  map[string]http.Handler
	addrs   map[string]string
	stops   map[string]func()
	fleet   *fleet.Fleet
	client  *http.Client

	mu       sync.Mutex
	outcomes []manage.Outcome
}

// node is an instance of a rig: how it is configured, what it has, and what stands before it.
type node struct {
	config.Instance
	models []ollamatest.Model
	front  func(http.Handler) http.Handler
}

// named is plain nodes with those names.
func named(names ...string) []node {
	nodes := make([]node, len(names))
	for i, name := range names {
		nodes[i].Name = name
	}
	return nodes
}

func bubble(t *testing.T, nodes []node, f func(g *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nodes)
		f(g)
		g.client.CloseIdleConnections()
		for _, stop := range g.stops {
			stop()
		}
		g.fleet.Close()
		for _, s := range g.servers {
			s.Close()
		}
		time.Sleep(time.Minute) // connections that were refused linger
	})
}

func newRig(t *testing.T, nodes []node) *rig {
	g := &rig{
		T: t, net: &ollamatest.Net{}, servers: map[string]*ollamatest.Server{}, fronts: map[string]http.Handler{},
		addrs: map[string]string{}, stops: map[string]func(){},
	}
	var instances []config.Instance
	for i, n := range nodes {
		s := ollamatest.New(ollamatest.Options{Models: n.models})
		g.servers[n.Name], g.fronts[n.Name] = s, s
		if n.front != nil {
			g.fronts[n.Name] = n.front(s)
		}
		g.addrs[n.Name] = fmt.Sprintf("127.0.0.1:%d", 21434+i)
		g.up(n.Name)
		n.URL = &url.URL{Scheme: "http", Host: g.addrs[n.Name]}
		if n.Roles == nil {
			n.Roles = []string{config.RoleGenerate, config.RoleEmbed}
		}
		instances = append(instances, n.Instance)
	}
	log := slog.New(slog.NewTextHandler(writer{t}, nil))
	g.fleet = fleet.New(fleet.Options{Log: log, MaxWaiting: 100, Dial: g.net.DialContext})
	if err := g.fleet.Apply(instances); err != nil {
		t.Fatal(err)
	}
	g.fleet.Meet(t.Context(), time.Minute)
	desk := &manage.Desk{Fleet: g.fleet, Log: log}
	stop, err := g.net.Serve(deskAddr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := desk.Serve(w, r)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.outcomes = append(g.outcomes, o)
	}))
	if err != nil {
		t.Fatal(err)
	}
	g.stops["desk"] = stop
	g.client = g.net.Client()
	return g
}

func (g *rig) up(name string) {
	stop, err := g.net.Serve(g.addrs[name], g.fronts[name])
	if err != nil {
		g.Fatal(err)
	}
	g.stops[name] = stop
}

// down cuts an instance off and waits until the fleet knows it.
func (g *rig) down(name string) {
	g.stops[name]()
	delete(g.stops, name)
	time.Sleep(30 * time.Second)
}

// offer puts a model into the registry of every instance.
func (g *rig) offer(o ollamatest.Offer) {
	for _, s := range g.servers {
		s.Offer(o)
	}
}

// answer is what the client got.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (g *rig) do(ctx context.Context, method, path string, body io.Reader, header ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+deskAddr+path, body)
	if err != nil {
		g.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text), err}
}

func (g *rig) post(path, body string, header ...string) answer {
	return g.do(g.Context(), http.MethodPost, path, strings.NewReader(body), header...)
}

// line is one line of progress.
type line struct {
	Status, Digest, Error string
	Total, Completed      int64
}

// lines reads a stream of progress and checks what every one must keep to: totals of a layer never change, what is
// completed never goes back, and nothing comes after the last line.
func (g *rig) lines(a answer) []line {
	g.Helper()
	if a.err != nil || a.status != http.StatusOK || a.header.Get("Content-Type") != "application/x-ndjson" {
		g.Fatalf("no stream: %d %s %v %s", a.status, a.header, a.err, a.body)
	}
	var lines []line
	totals, completed := map[string]int64{}, map[string]int64{}
	scanner := bufio.NewScanner(strings.NewReader(a.body))
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			g.Fatalf("%v: %s", err, scanner.Text())
		}
		if n := len(lines); n > 0 && (lines[n-1].Status == "success" || lines[n-1].Error != "") {
			g.Errorf("after the end: %s", scanner.Text())
		}
		lines = append(lines, l)
		if l.Digest == "" {
			continue
		}
		if was, seen := totals[l.Digest]; seen && was != l.Total {
			g.Errorf("total of %s was %d: %s", l.Digest, was, scanner.Text())
		}
		if l.Completed < completed[l.Digest] || l.Completed > l.Total {
			g.Errorf("completed of %s was %d: %s", l.Digest, completed[l.Digest], scanner.Text())
		}
		totals[l.Digest], completed[l.Digest] = l.Total, l.Completed
	}
	for digest, total := range totals {
		if completed[digest] != total {
			g.Errorf("the bar of %s ends at %d of %d", digest, completed[digest], total)
		}
	}
	return lines
}

// end is the last line of a stream of progress.
func (g *rig) end(a answer) line {
	g.Helper()
	lines := g.lines(a)
	if len(lines) == 0 {
		g.Fatal("no line")
	}
	return lines[len(lines)-1]
}

// holders is the instances that have a model: what they say, and what the fleet believes must be the same.
func (g *rig) holders(model string) string {
	g.Helper()
	var real, believed []string
	for _, p := range g.fleet.Places() {
		if _, has := p.Has(model); has {
			believed = append(believed, p.Name)
		}
	}
	for name := range g.servers {
		if g.stops[name] != nil && g.has(name, model) {
			real = append(real, name)
		}
	}
	slices.Sort(real)
	up := slices.DeleteFunc(believed, func(name string) bool { return g.stops[name] == nil })
	if strings.Join(up, ",") != strings.Join(real, ",") {
		g.Errorf("%s is on %v, the fleet believes %v", model, real, up)
	}
	return strings.Join(real, ",")
}

func (g *rig) has(name, model string) bool {
	resp, err := g.client.Get("http://" + g.addrs[name] + "/api/tags")
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return strings.Contains(string(text), `"name":"`+model+`"`)
}

// count is how many requests for a path an instance got.
func (g *rig) count(name, path string) (n int) {
	for _, r := range g.servers[name].Requests() {
		if r.Path == path {
			n++
		}
	}
	return n
}

type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
