package demo

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"corral/ollamatest"
)

// weights is the id of the embedding model's weights in tests.
const weights = "77"

// model is a stage of servers in memory, in virtual time.
func model(t *testing.T, count int, timeout time.Duration) *stage {
	t.Helper()
	var network ollamatest.Net
	serve := func(addr string, m ollamatest.Model) string {
		m.Weights = weights
		s := ollamatest.New(ollamatest.Options{
			Models: []ollamatest.Model{m}, NumParallel: numParallel, KeepAlive: -1, Engine: ollamatest.Settings{Speed: speed},
		})
		stop, err := network.Serve(addr, s)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(); s.Close() })
		return "http://" + addr
	}
	chat := ollamatest.Model{Name: chatModel}
	embed := ollamatest.Model{Name: embedModel, Capabilities: []string{"embedding"}}
	return &stage{
		generate: []string{serve("127.0.0.1:1", chat), serve("127.0.0.1:2", chat)},
		embed:    serve("127.0.0.1:3", embed),
		load:     load{model: chatModel, embedModel: embedModel, count: count, scripted: true, speed: speed, weights: weights},
		client:   clientOptions{timeout: timeout, speed: speed, dial: network.DialContext},
	}
}

func fire(t *testing.T, count int, timeout time.Duration) (result, ideal) {
	t.Helper()
	var r result
	var i ideal
	synctest.Test(t, func(t *testing.T) {
		st := model(t, count, timeout)
		b := burst{calls: st.load.calls(), stage: st, screen: newScreen(io.Discard)}
		var err error
		if r, err = b.fire(t.Context(), "test", st.direct); err != nil {
			t.Fatal(err)
		}
		i = st.ideal(b.calls)
	})
	return r, i
}

func TestBurstOfPatientClientsIsAnsweredInIdealTime(t *testing.T) {
	r, i := fire(t, 200, time.Minute)
	if r.answered != 200 || len(r.times) != 200 || r.requests != 200 {
		t.Errorf("%d of 200 answered with %d requests: %s", r.answered, r.requests, r.example)
	}
	if least := i.generate - i.longest; r.elapsed < least || r.elapsed > least*12/10 {
		t.Errorf("took %s; all work on all slots takes %s", r.elapsed, least)
	}
}

func TestBurstOfImpatientClients(t *testing.T) {
	r, _ := fire(t, 200, 300*time.Millisecond)
	if r.failed[timedOut] == 0 || r.answered+r.failed[timedOut] != 200 || r.requests < 200+2*r.failed[timedOut] {
		t.Errorf("%d answered, failed %v, %d requests", r.answered, r.failed, r.requests)
	}
}

func TestBurstStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := model(t, 100, time.Minute)
		b := burst{calls: st.load.calls(), stage: st, screen: newScreen(io.Discard)}
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		if _, err := b.fire(ctx, "test", st.direct); err == nil {
			t.Error("no error")
		}
	})
}

func TestCalls(t *testing.T) {
	l := load{model: chatModel, embedModel: embedModel, count: 100, scripted: true, speed: speed}
	calls, again := l.calls(), l.calls()
	embeds, bodies := 0, map[string]bool{}
	for i, c := range calls {
		if string(c.body) != string(again[i].body) {
			t.Fatalf("call %d differs at the second time", i)
		}
		if bodies[string(c.body)] {
			t.Errorf("call %d is not unique", i)
		}
		bodies[string(c.body)] = true
		switch {
		case c.embeds:
			embeds++
			if n := len(c.texts); n < minTexts || n > maxTexts {
				t.Errorf("call %d embeds %d texts", i, n)
			}
		case c.tokens < minTokens || c.tokens > maxTokens || len(c.body) < 1000 || len(c.body) > 2500:
			t.Errorf("call %d: %d tokens, body of %d bytes", i, c.tokens, len(c.body))
		}
	}
	if embeds != 10 {
		t.Errorf("%d embeddings", embeds)
	}
	for _, c := range (load{model: "m", count: 20}).calls() {
		if c.embeds || strings.Contains(string(c.body), "[[") || !strings.Contains(string(c.body), "max_tokens") {
			t.Fatalf("not for a real model: %s", c.body)
		}
	}
}

func TestCheckKnowsWhoseAnswerItIs(t *testing.T) {
	l := load{model: chatModel, embedModel: embedModel, count: 20, scripted: true, speed: speed, weights: weights}
	calls := l.calls()
	chat := func(content string) []byte {
		return encode(map[string]any{"choices": []any{map[string]any{"message": map[string]any{"content": content}}}})
	}
	right := ollamatest.NewReply("", "", ollamatest.Directives{Tokens: calls[1].tokens, Say: "call-1"}, 0, true).Text(999)
	for name, c := range map[string]struct {
		call   *call
		answer []byte
		good   bool
	}{
		"own":        {calls[1], chat(right), true},
		"another's":  {calls[2], chat(right), false},
		"cut":        {calls[1], chat(`{"reply": "call-1 oak"}`), false},
		"not JSON":   {calls[1], chat(right[:20]), false},
		"no content": {calls[1], []byte(`{"choices":[]}`), false},
		"error":      {calls[1], []byte(`{"error":{"message":"no"}}`), false},
		"garbage":    {calls[1], []byte(`<html>`), false},
		"spaces":     {calls[1], append([]byte("   "), chat(right)...), true},
	} {
		if err := l.check(c.call, c.answer); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckVectors(t *testing.T) {
	l := load{embedModel: embedModel, model: chatModel, count: 10, scripted: true, speed: speed, weights: weights}
	c := l.calls()[9]
	vectors := func(weights string, n int) []byte {
		var data []any
		for i, text := range c.texts[:n] {
			data = append(data, map[string]any{"index": i, "embedding": ollamatest.Vector(weights, text, 64)})
		}
		b, err := json.Marshal(map[string]any{"data": data})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := l.check(c, vectors(weights, len(c.texts))); err != nil {
		t.Error(err)
	}
	if l.check(c, vectors("78", len(c.texts))) == nil {
		t.Error("vectors of another model pass")
	}
	if l.check(c, vectors(weights, len(c.texts)-1)) == nil {
		t.Error("a missing vector passes")
	}
}
