package manage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// failure is why an instance did not do what it was asked.
type failure struct {
	status  int
	message string
	lost    bool // the instance could not be reached, or broke off
}

// maxError bounds what is read of an answer that is an error, in bytes.
const maxError = 1 << 20

// failed reads an instance's answer that is an error.
func failed(resp *http.Response) *failure {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	return &failure{status: resp.StatusCode, message: dialect.ErrorMessage(data)}
}

func lost(message string) *failure {
	return &failure{status: http.StatusBadGateway, message: message, lost: true}
}

// An instance that is out for so many looks in a row while it works will not answer any more. One that checks a
// large file may be slow to answer polls, so this takes its time.
const (
	lookEvery = 5 * time.Second
	looksMost = 6
)

var errOut = errors.New("it can not be reached any more")

// follow has an instance carry out a pull or create and reads its progress to the end.
func (t *task) follow(ctx context.Context, p fleet.Place, say func(line)) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go t.desk.lookAfter(ctx, p.Name, cancel)
	resp, err := p.Target.Do(ctx, t.r.Method, t.r.URL.RequestURI(), t.r.Header, t.body)
	if err != nil {
		return t.broke(ctx, p, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failed(resp)
	}
	answer := json.NewDecoder(resp.Body)
	for succeeded := false; ; {
		var l line
		err := answer.Decode(&l)
		switch {
		case err == io.EOF && succeeded:
			return nil
		case err != nil:
			return t.broke(ctx, p, err)
		case l.Error != "":
			return &failure{status: http.StatusInternalServerError, message: l.Error}
		}
		succeeded = l.Status == "success"
		say(l)
	}
}

// broke is the failure of an instance that did not answer to the end.
func (t *task) broke(ctx context.Context, p fleet.Place, err error) *failure {
	switch {
	case t.r.Context().Err() != nil:
		return lost("the client left")
	case context.Cause(ctx) == errOut: //nolint:errorlint // it is that very one
		return lost(errOut.Error())
	}
	t.desk.Log.Warn("instance broke off", "instance", p.Name, "path", t.r.URL.Path, "error", err)
	t.desk.Fleet.Failed(p.Name, err)
	return lost("it did not answer to the end")
}

// lookAfter ends an operation on an instance that is out for long.
func (d *Desk) lookAfter(ctx context.Context, instance string, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for out := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if d.isUp(instance) {
			out = 0
		} else if out++; out >= looksMost {
			cancel(errOut)
			return
		}
	}
}

// isUp says whether an instance can be reached. One that has left the configuration may end its work.
func (d *Desk) isUp(instance string) bool {
	for _, p := range d.Fleet.Places() {
		if p.Name == instance {
			return p.Up
		}
	}
	return true
}
