package call

import (
	"net/http"
	"strings"

	"corral/internal/dialect"
)

// WarningHeader names, in words of dialect.Verdict, what is wrong with an answer that looks whole. It is a trailer of
// answers whose headers are out before it is known.
const WarningHeader = "X-Corral-Warning"

// echo is a client that is answered by the name it asked for.
type echo struct {
	http.ResponseWriter
	renamer *dialect.Renamer
	buf     []byte
}

// client returns where an answer of that status is written to: through an echo if it was asked by an alias.
func (c *call) client(status int) http.ResponseWriter {
	e := c.req.Envelope
	if status != http.StatusOK || e.Target == e.Model {
		return c.w
	}
	return &echo{ResponseWriter: c.w, renamer: dialect.NewRenamer(e.Target, e.Model)}
}

// Unwrap is for http.ResponseController.
func (e *echo) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *echo) Write(p []byte) (int, error) {
	e.buf = e.renamer.Append(e.buf[:0], p)
	if _, err := e.ResponseWriter.Write(e.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes what is held back.
func (e *echo) end() { _, _ = e.ResponseWriter.Write(e.renamer.Flush(nil)) }

// rename is the whole answer of a client.
func rename(w http.ResponseWriter, body []byte) []byte {
	e, ok := w.(*echo)
	if !ok {
		return body
	}
	return e.renamer.Flush(e.renamer.Append(make([]byte, 0, len(body)+64), body))
}

// judge tells of an answer that is not what was asked for: silence would give its reader an empty graph. prefix is
// http.TrailerPrefix once the headers are out.
func (u *run) judge(watch *dialect.Watch, prefix string) {
	c := u.call
	verdicts := watch.Verdicts(c.req.Envelope, c.desk.Fleet.Context(u.grant.Lane))
	if len(verdicts) == 0 {
		return
	}
	words := make([]string, len(verdicts))
	for i, v := range verdicts {
		words[i] = string(v)
		c.desk.Log.Warn("the answer is not what was asked for", "request", c.req.ID, "model", c.req.Envelope.Model,
			"instance", u.target.Name, "verdict", string(v), "advice", v.Advice())
	}
	c.record.Verdicts = verdicts
	c.w.Header().Set(prefix+WarningHeader, strings.Join(words, ", "))
}
