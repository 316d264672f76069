package call

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"corral/internal/dialect"
	"corral/internal/dispatch"
)

// engineFaults are what Ollama's embedding routes say when their engine died or does not answer (llm/llama_server.go,
// v0.33.0). /api/embed and /v1/embeddings say it with 400, as if the client had asked wrongly.
var engineFaults = [...]string{
	"do embedding request: ", "error reading embed response: ", "llama-server process no longer running",
	"llama-server error: ", "unexpected server status: ", "health resp: ", "no slots available after ",
	"server not responding", "connection refused",
	`Post "http://127.0.0.1:`, // its other questions to the engine
}

// maxFault bounds an error's body, in bytes.
const maxFault = 64 << 10

// engineFault is the error with which an embedding route told the end of its engine, "" if the answer is another one.
// The answer's body is still there afterwards.
func engineFault(route dialect.Route, resp *http.Response) string {
	if !route.Embeds || (resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusInternalServerError) {
		return ""
	}
	if resp.ContentLength < 0 || resp.ContentLength > maxFault {
		return ""
	}
	rest := resp.Body
	body, err := io.ReadAll(rest)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), rest}
	if err != nil {
		return ""
	}
	message := dialect.ErrorMessage(body)
	if slices.ContainsFunc(engineFaults[:], func(s string) bool { return strings.Contains(message, s) }) {
		return message
	}
	return ""
}

// crashed ends an attempt whose engine died under it; false if another one should follow.
func (u *run) crashed(resp *http.Response, fault string) bool {
	c := u.call
	_ = resp.Body.Close()
	c.desk.Log.Warn("engine died under a request", "request", c.req.ID, "instance", u.target.Name, "error", fault)
	c.desk.Fleet.Failed(u.target.Name, errors.New(fault)) // its lanes are loaded again by Corral before they are granted
	u.free(dispatch.Failed)
	c.avoid(u.target.Name)
	if c.broken++; c.broken < mostBroken {
		return false
	}
	c.fail(http.StatusBadGateway, fmt.Sprintf("the engine of instance %s died: %s", u.target.Name, fault))
	return true
}
