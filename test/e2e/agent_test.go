//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// agentSilence is how long the agent bears silence, in seconds; beats come three times in it.
const agentSilence = 9

// hear waits in the queue until it has heard so many pings, in the agent's rhythm, and hangs up.
func (c *corral) hear(t *testing.T, pings int) {
	t.Helper()
	body := streamed("agent", "witness")
	body = body[:len(body)-1] + `,"max_tokens":9}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/v1/messages", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Stainless-Timeout", strconv.Itoa(agentSilence))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); pings > 0; {
		if !lines.Scan() {
			t.Fatalf("the witness heard the end: %v", lines.Err())
		}
		if lines.Text() == "event: ping" {
			pings--
		}
	}
}

// TestClaudeCode: Anthropic's own SDK takes a turn as Claude Code does, while every slot is taken for several times the
// silence that it bears. It hears pings, and what it asked for is carried out once. The same turn straight at an Ollama
// that is as busy is given up and asked again. With CORRAL_E2E_LONG it waits for six minutes (make nightly).
func TestClaudeCode(t *testing.T) {
	o := newOllama(t, "a", "", nil, "m")
	c := newCorral(t, configOf(o), nil)
	c.awaitUp(t, 1)
	create := ask(t, c.URL, http.MethodPost, "/api/create", `{"model":"agent","from":"m","stream":false,`+
		`"template":"{{ .Tools }}{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"}`)
	if create.code != http.StatusOK {
		t.Fatalf("create a model that takes tools: %d %s", create.code, create.body)
	}
	free := c.busyWith(t, "agent", slots)
	defer free()
	before := len(o.records(t))

	type turn struct {
		Text   string
		Events []string
		Asked  int
		Pings  int
	}
	take := func(base string) <-chan turn {
		p := nodeProgram(t, "agent.mjs", base, strconv.Itoa(agentSilence))
		done := make(chan turn, 1)
		go func() {
			var result turn
			out, err := p.Output()
			if err == nil {
				err = json.Unmarshal(out, &result)
			}
			if err != nil {
				t.Errorf("agent.mjs: %v: %s", err, out)
			}
			done <- result
		}()
		return done
	}
	direct, through := take(o.URL), take(c.URL)
	c.awaitQueue(t, 1, slots)
	beats := 5
	if os.Getenv("CORRAL_E2E_LONG") != "" {
		beats = 120
	}
	c.hear(t, beats)
	if d := <-direct; d.Text != "" || d.Asked < 2 {
		t.Errorf("direct: %+v: its patience shows nothing", d)
	}
	free()
	got := <-through
	if got.Asked != 1 || got.Pings < beats-1 || !strings.Contains(got.Text, "done") {
		t.Errorf("through Corral: %+v", got)
	}
	want := []string{"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"}
	if !slices.Equal(got.Events, want) {
		t.Errorf("events %q, want %q", got.Events, want)
	}
	done := 0
	for _, r := range o.records(t)[before:] {
		if r.Outcome == "done" {
			done++
		}
	}
	if done != 1 {
		t.Errorf("carried out %d times", done)
	}
}
