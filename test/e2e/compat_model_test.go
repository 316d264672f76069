//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// ableGroups ask a model that can call tools and think, which they make first and delete at the end.
func ableGroups() []compatGroup {
	const (
		template = "{{ .System }}{{ range .Messages }}{{ .Role }}: {{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}{{ .Tools }}"
		messages = `,"messages":[{"role":"user","content":"hello [[tokens=5 say=hello]]"}]`
		called   = `,"messages":[{"role":"user","content":"hello"},` +
			`{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":%s}}]},` +
			`{"role":"tool","tool_call_id":"c1","content":"[[tokens=5 say=hello]]"}]`
		anthropicTool = `,"tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{"x":{"type":"string"}}}}]`
		responsesTool = `,"tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}]`
	)
	say := func(more string) string { return `{"model":"able"` + more + `}` }
	return []compatGroup{
		group("POST /api/create", with("a model for tools and thinking", fmt.Sprintf(`{"model":"able","from":"m","template":%q,"stream":false}`, template))),
		group("POST /api/show", with("what it can", `{"model":"able"}`)),
		group("POST /api/chat",
			with("tools", say(messages+tool+steady+`,"stream":false`)), with("tools, streamed", say(messages+tool+steady)),
			with("answer of a tool", say(fmt.Sprintf(called, `{"x":"y"}`)+tool+steady+`,"stream":false`)),
			with("thinking", say(messages+steady+`,"think":true,"stream":false`)), with("thinking, streamed", say(messages+steady+`,"think":true`)),
			with("thinking, JSON", say(messages+steady+`,"think":true,"format":"json","stream":false`)),
			with("not thinking", say(messages+steady+`,"think":false,"stream":false`)), with("thinking that is none", say(messages+`,"think":"much"`))),
		group("POST /v1/chat/completions",
			with("tools", say(messages+tool+steadyOpenAI)), with("tools, streamed", say(messages+tool+steadyOpenAI+`,"stream":true`)),
			with("answer of a tool", say(fmt.Sprintf(called, `"{\"x\":\"y\"}"`)+tool+steadyOpenAI)), with("arguments that are no JSON", say(fmt.Sprintf(called, `"{"`)+steadyOpenAI)),
			with("thinking", say(messages+steadyOpenAI+`,"reasoning_effort":"high"`)), with("thinking that is none", say(messages+`,"reasoning_effort":"much"`))),
		group("POST /v1/responses",
			with("tools", say(`,"input":"hello [[tokens=5 say=hello]]","temperature":0,"max_output_tokens":6`+responsesTool)),
			with("tools, streamed", say(`,"input":"hello [[tokens=5 say=hello]]","temperature":0,"max_output_tokens":6,"stream":true`+responsesTool))),
		group("POST /v1/messages",
			with("tools", say(messages+anthropicTool+steadyOpenAI)), with("tools, streamed", say(messages+anthropicTool+steadyOpenAI+`,"stream":true`)),
			with("thinking", say(messages+steadyOpenAI+`,"thinking":{"type":"enabled","budget_tokens":1024}`))),
		group("DELETE /api/delete", with("the model for tools", `{"model":"able"}`)),
	}
}

// registryGroups pull from a registry that is there, and push to one that is not.
func registryGroups(t *testing.T) []compatGroup {
	name := newRegistry(t)
	const away = "127.0.0.1:1/x/pushed"
	at := func(name, method, path, body string) compatCase {
		return compatCase{request: request{name: name, method: method, path: path, body: body}}
	}
	return []compatGroup{
		group("POST /api/pull",
			with("a model that is there", fmt.Sprintf(`{"model":%q,"insecure":true}`, name)), with("the same, plain", fmt.Sprintf(`{"model":%q,"insecure":true,"stream":false}`, name)),
			with("without insecure", fmt.Sprintf(`{"model":%q,"stream":false}`, name)),
			at("deleted again", http.MethodDelete, "/api/delete", fmt.Sprintf(`{"model":%q}`, name))),
		group("POST /api/push",
			at("copied first", http.MethodPost, "/api/copy", `{"source":"m","destination":"`+away+`"}`),
			with("registry out of reach", `{"model":"`+away+`","stream":false}`), with("the same, streamed", `{"model":"`+away+`"}`),
			at("deleted again", http.MethodDelete, "/api/delete", `{"model":"`+away+`"}`)),
	}
}
