package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/ollamatest"
)

// claudeCode is a turn of a coding agent as Claude Code sends it.
const claudeCode = `{"model":"m1","max_tokens":32000,"stream":true,
	"system":[{"type":"text","text":"You are an agent.","cache_control":{"type":"ephemeral"}}],
	"messages":[{"role":"user","content":[{"type":"text","text":"[[tokens=3]]","cache_control":{"type":"ephemeral"}}]}],
	"tools":[{"name":"Bash","description":"Run a command.","input_schema":{"type":"object","properties":{"command":{"type":"string"}},"required":["command"]}}],
	"metadata":{"user_id":"user_1_session_1"}}`

// TestClaudeCodeWaitsSixMinutes: an agent whose client falls back to a second request after a silence hears a ping every
// 15 seconds, and its one request is carried out once.
func TestClaudeCodeWaitsSixMinutes(t *testing.T) {
	const path = "/v1/messages"
	bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
		busy := g.busy(6*time.Minute + 5*time.Second)
		a := g.post(path+"?beta=true", claudeCode,
			"Anthropic-Version", "2023-06-01", "X-App", "cli", "User-Agent", "claude-cli/2.1.0 (external, cli)", "X-Stainless-Timeout", "600")
		busy.Wait()
		const ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
		pings := 0
		for strings.HasPrefix(a.body[pings*len(ping):], ping) {
			pings++
		}
		if pings != 24 || !strings.HasPrefix(a.body[pings*len(ping):], "event: message_start\n") || !strings.Contains(a.body, "event: message_stop") {
			g.Errorf("%d pings, %v, %.3000s", pings, a.err, a.body)
		}
		last := time.Duration(0)
		for _, p := range a.pieces {
			if p.at-last > 20*time.Second {
				g.Errorf("silence from %s to %s", last, p.at)
			}
			last = p.at
		}
		if n := g.servers["a"].Stats().Requests[path]; n != 1 || a.status != http.StatusOK {
			g.Errorf("carried out %d times, %d", n, a.status)
		}
	})
}
