package manage

import (
	"encoding/json"
	"net/http"
	"strings"

	"corral/internal/dialect"
)

// modelBody is the body of a question about one model.
func modelBody(model string) []byte {
	body, _ := json.Marshal(map[string]string{"model": model}) // strings can not fail
	return body
}

// nobody notes that no instance wants the model.
func (s *spread) nobody(reasons []string) {
	s.failed = []mishap{{failure: &failure{status: http.StatusBadRequest, message: s.unplaced(reasons)}}}
}

// unplaced says why a model is put nowhere.
func (t *task) unplaced(reasons []string) string {
	return "no instance wants " + t.model() + " (" + strings.Join(reasons, "; ") + "): change their `models`, `roles` or `max_model`, or name instances with " + InstanceHeader
}

// conclude says how it ended: once, at the end of the stream or as the whole answer.
func (s *spread) conclude() {
	if s.r.Context().Err() != nil {
		s.outcome.Error = "the client left"
		return
	}
	if len(s.failed) == 0 {
		s.outcome.Instances = strings.Join(s.done, ",")
		if s.streams() {
			s.progress.finish(line{Status: "success"})
			return
		}
		s.answer(http.StatusOK, "application/json", []byte(`{"status":"success"}`))
		return
	}
	e := s.summary(s.verb+" "+s.model(), s.done, s.failed)
	s.desk.Log.Warn("not everywhere as it should be", "request", s.verb, "model", s.canonical, "error", e.Message)
	if s.progress.started() {
		s.outcome.Error = e.Message
		s.progress.finish(line{Error: e.Message})
		return
	}
	_, body := dialect.Ollama.ErrorBody(e.Status, e.Message)
	s.answer(e.Status, "application/json", body) // as Ollama says it after work: without a charset
	s.outcome.Error = e.Message
}

// summary is one error for those of several instances: in an instance's own words where all say the same.
func (t *task) summary(what string, done []string, failed []mishap) dialect.Error {
	first := failed[0]
	same := len(done) == 0
	var parts []string
	for _, f := range failed {
		same = same && f.message == first.message && !f.lost
		parts = append(parts, f.place.Name+" ("+f.message+")")
	}
	if same {
		return dialect.Error{Status: first.status, Message: first.message}
	}
	message := what + " failed on " + strings.Join(parts, ", ")
	if len(done) > 0 {
		message += "; it succeeded on " + strings.Join(done, ", ")
	}
	status := first.status
	if len(done) > 0 && status < http.StatusInternalServerError {
		status = http.StatusBadGateway // the request itself was right
	}
	return dialect.Error{Status: status, Message: message + ". Repeat it: what is done already is kept"}
}
