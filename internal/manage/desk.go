// Package manage is model management over the fleet: pull, push, create, copy, delete and blobs, which each
// instance does for itself, made to look like one Ollama that has them all.
package manage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"corral/internal/dialect"
	"corral/internal/fleet"
	"corral/internal/relay"
)

// InstanceHeader names instances, separated by commas: in a request those that it is for, whatever their
// configuration says of models; in an answer those that took part.
const InstanceHeader = "X-Corral-Instance"

const (
	// maxQuestion bounds the body of a request that manages models, in bytes: a Modelfile with its texts.
	maxQuestion = 16 << 20
	// refreshMost bounds how long an operation waits for the inventory of an instance.
	refreshMost = 2 * time.Second
	// cleanMost bounds the removal of what an operation put where it does not belong.
	cleanMost = 30 * time.Second
	// askMost bounds a question that every instance answers at once: copy, delete, is there a blob.
	askMost = 30 * time.Second
)

// Desk does what clients ask of models. Safe for concurrent use.
type Desk struct {
	Fleet *fleet.Fleet
	Log   *slog.Logger

	names names
}

// Outcome is how a request ended.
type Outcome struct {
	Instances string // those that took part, separated by commas
	Status    int    // HTTP status the client saw; 0 if none
	Error     string // what the client was told, also after an answer had begun
}

// Manages says whether a request manages models. It is the one place that decides it.
func Manages(method, path string) bool {
	switch path {
	case "/api/pull", "/api/push", "/api/create", "/api/copy":
		return method == http.MethodPost
	case "/api/delete":
		return method == http.MethodDelete
	}
	_, ok := blobOf(path)
	return ok && (method == http.MethodPost || method == http.MethodHead)
}

// blobOf is the digest that a path of a blob names: one segment, as Ollama's router takes it.
func blobOf(path string) (digest string, ok bool) {
	digest, ok = strings.CutPrefix(path, "/api/blobs/")
	return digest, ok && digest != "" && !strings.Contains(digest, "/")
}

// Serve answers a request for which Manages is true.
func (d *Desk) Serve(w http.ResponseWriter, r *http.Request) Outcome {
	t := &task{desk: d, w: w, r: r}
	if err := t.begin(); err != nil {
		t.refuse(err)
		return t.outcome
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/blobs/"):
		t.blob()
	case r.URL.Path == "/api/pull":
		t.pull()
	case r.URL.Path == "/api/create":
		t.create()
	case r.URL.Path == "/api/push":
		t.push()
	case r.URL.Path == "/api/copy":
		t.copy()
	default:
		t.delete()
	}
	return t.outcome
}

// question is what Corral reads of a request; the rest stays bytes. Field names are matched as Ollama does.
type question struct {
	Model       string            `json:"model"`
	Name        string            `json:"name"`
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	From        string            `json:"from"`
	RemoteHost  string            `json:"remote_host"`
	Files       map[string]string `json:"files"`
	DraftFiles  map[string]string `json:"draft_files"`
	Adapters    map[string]string `json:"adapters"`
	Stream      *bool             `json:"stream"`
}

// task is one request being answered.
type task struct {
	desk    *Desk
	w       http.ResponseWriter
	r       *http.Request
	body    []byte
	q       question
	clear   bool          // the body was understood
	named   bool          // the client named instances
	places  []fleet.Place // those that can be reached, in file order; or those the client named
	outcome Outcome
}

// model is the name that the request is about, as asked.
func (t *task) model() string { return cmp.Or(t.q.Model, t.q.Name) }

// streams says whether the answer is a stream of progress.
func (t *task) streams() bool { return t.q.Stream == nil || *t.q.Stream }

// begin reads the request and finds the instances there are for it.
func (t *task) begin() error {
	if _, blob := blobOf(t.r.URL.Path); !blob {
		body, err := io.ReadAll(http.MaxBytesReader(t.w, t.r.Body, maxQuestion))
		if err != nil {
			if _, over := errors.AsType[*http.MaxBytesError](err); over {
				return dialect.Error{Status: http.StatusRequestEntityTooLarge, Message: "a request that manages models is at most 16 MiB: upload files as blobs"}
			}
			return dialect.Error{Status: http.StatusBadRequest, Message: "the request body ended early"}
		}
		t.body = body
		t.clear = json.NewDecoder(bytes.NewReader(body)).Decode(&t.q) == nil
	}
	return t.choose()
}

// choose finds the instances that the client names, else those that can be reached.
func (t *task) choose() error {
	all := t.desk.Fleet.Places()
	wanted := strings.Join(t.r.Header.Values(InstanceHeader), ",")
	if strings.TrimSpace(wanted) == "" {
		for _, p := range all {
			if p.Up {
				t.places = append(t.places, p)
			}
		}
		if len(t.places) == 0 {
			t.w.Header().Set("Retry-After", "5")
			return dialect.Error{Status: http.StatusServiceUnavailable,
				Message: "no Ollama instance can be reached (" + namesOf(all) + "): start one, or see `corral check`"}
		}
		return nil
	}
	t.named = true
	var err error
	t.places, err = pick(all, wanted)
	return err
}

// pick finds instances by name.
func pick(all []fleet.Place, wanted string) ([]fleet.Place, error) {
	picked := map[string]bool{}
	for name := range strings.SplitSeq(wanted, ",") {
		if name = strings.TrimSpace(name); name != "" {
			picked[name] = true
		}
	}
	var places []fleet.Place
	var down []string
	for _, p := range all {
		switch {
		case !picked[p.Name]:
			continue
		case p.Up:
			places = append(places, p)
		default:
			down = append(down, p.Name)
		}
		delete(picked, p.Name)
	}
	for name := range picked {
		return nil, dialect.Error{Status: http.StatusBadRequest, Message: InstanceHeader + " names " +
			strconv.Quote(name) + ", which is no instance: there are " + namesOf(all)}
	}
	if len(down) > 0 {
		return nil, dialect.Error{Status: http.StatusServiceUnavailable, Message: InstanceHeader + " names " +
			strings.Join(down, ", ") + ", which can not be reached now: there are " + namesOf(all)}
	}
	return places, nil
}

// pass hands the request to one instance as it is, and the answer back as it comes.
func (t *task) pass(p fleet.Place) {
	resp, err := p.Target.Do(t.r.Context(), t.r.Method, t.r.URL.RequestURI(), t.r.Header, t.body)
	if err != nil {
		t.unanswered(p, err)
		return
	}
	defer resp.Body.Close()
	t.begun(p.Name, resp.StatusCode)
	relay.CopyHeader(t.w.Header(), resp.Header)
	t.w.WriteHeader(resp.StatusCode)
	_ = relay.Stream(t.w, resp.Body, nil, func(err error) {
		if err != nil {
			t.desk.Log.Warn("answer broke off", "instance", p.Name, "path", t.r.URL.Path, "error", err)
			t.outcome.Error = "answer broke off"
		}
	})
}

// begun notes who answers and with which status.
func (t *task) begun(instances string, status int) {
	t.outcome.Instances, t.outcome.Status = instances, status
	if instances != "" {
		t.w.Header().Set(InstanceHeader, instances)
	}
}

// unanswered tells the client that an instance did not answer, unless it is the client that left.
func (t *task) unanswered(p fleet.Place, err error) {
	if t.r.Context().Err() != nil {
		return
	}
	t.desk.Fleet.Failed(p.Name, err)
	t.refuse(dialect.Error{Status: http.StatusBadGateway, Message: "instance " + p.Name + " did not answer"})
}

// refuse answers with an error in Ollama's form.
func (t *task) refuse(err error) {
	e, ok := errors.AsType[dialect.Error](err)
	if !ok {
		e = dialect.Error{Status: http.StatusInternalServerError, Message: err.Error()}
	}
	contentType, body := dialect.Ollama.ErrorBody(e.Status, e.Message)
	t.answer(e.Status, contentType, body)
	t.outcome.Error = e.Message
}

// answer writes a whole answer.
func (t *task) answer(status int, contentType string, body []byte) {
	t.begun(t.outcome.Instances, status)
	h := t.w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	t.w.WriteHeader(status)
	_, _ = t.w.Write(body)
}

// refresh takes inventory of an instance. A failure is not the client's affair: the poll tries again.
func (t *task) refresh(name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.r.Context()), refreshMost)
	defer cancel()
	err := t.desk.Fleet.Refresh(ctx, name)
	if err != nil {
		t.desk.Log.Warn("inventory not taken: it is taken with the next poll", "instance", name, "error", err)
		t.desk.Fleet.Changed()
	}
	return err
}

// namesOf lists instances: "a, b, c".
func namesOf(places []fleet.Place) string {
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}

// listed is instances as a header lists them: "a,b,c".
func listed(places []fleet.Place) string { return strings.ReplaceAll(namesOf(places), " ", "") }
