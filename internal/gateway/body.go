package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"corral/internal/call"
	"corral/internal/config"
	"corral/internal/dialect"
)

var (
	errTooLarge = errors.New("body too large")
	errNoRoom   = errors.New("no room for the body")
)

// readBody takes a request's body into memory, within the limits of one body and of all together. What it
// returns counts in g.bodies by its capacity, also with an error.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, limits config.Queue) ([]byte, error) {
	most := int64(limits.MaxBody)
	if r.ContentLength > most {
		return nil, errTooLarge
	}
	announced := max(r.ContentLength, 0) // reserved while it is read
	defer g.bodies.Add(-announced)
	if g.bodies.Add(announced) > int64(limits.MaxBytes) {
		return nil, errNoRoom
	}
	var body []byte
	var err error
	if size := r.ContentLength; size >= 0 && size <= 1<<20 {
		body = make([]byte, size)
		_, err = io.ReadFull(r.Body, body)
	} else {
		// Grown as it comes: a client that announces much and sends little costs little.
		var buf bytes.Buffer
		_, err = buf.ReadFrom(http.MaxBytesReader(w, r.Body, most))
		body = buf.Bytes()
	}
	if g.bodies.Add(int64(cap(body)))-announced > int64(limits.MaxBytes) && err == nil {
		err = errNoRoom // it did not say how long it would be
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return body, errTooLarge
	}
	return body, err
}

// refuseBody answers a request whose body was not taken.
func (g *Gateway) refuseBody(w http.ResponseWriter, r *http.Request, limits config.Queue, err error) {
	switch {
	case errors.Is(err, errTooLarge):
		w.Header().Set("Connection", "close") // the rest of the body is not read
		g.reject(w, r, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("request body is larger than %s: raise queue.max_body in Corral's configuration", limits.MaxBody))
	case errors.Is(err, errNoRoom):
		status, message, retry := call.Full(dialect.Of(r.URL.Path))
		w.Header().Set("Retry-After", retry)
		w.Header().Set("Connection", "close")
		g.reject(w, r, status, message)
	default: // the client broke off: nobody listens
		w.Header().Set("Connection", "close")
		g.reject(w, r, http.StatusBadRequest, "the request body ended early")
	}
}

// setBody gives a request the body that was read from it, to be passed on.
func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
}
