package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

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
		m := &meter{r: http.MaxBytesReader(w, r.Body, most), bodies: &g.bodies, most: int64(limits.MaxBytes), free: announced}
		defer m.settle()
		var buf bytes.Buffer
		_, err = buf.ReadFrom(m)
		body = buf.Bytes()
	}
	g.bodies.Add(int64(cap(body)))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return body, errTooLarge
	}
	return body, err
}

// meter counts a body while it is read, and ends it when all bodies together are too much. The first free bytes
// are reserved already.
type meter struct {
	r       io.Reader
	bodies  *atomic.Int64
	most    int64
	free    int64
	counted int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	more := max(int64(n)-m.free, 0)
	m.free = max(m.free-int64(n), 0)
	m.counted += more
	if more > 0 && m.bodies.Add(more) > m.most {
		return n, errNoRoom
	}
	return n, err
}

// settle gives back what was counted: from now on the body counts as what it takes in memory.
func (m *meter) settle() { m.bodies.Add(-m.counted) }

// maxUnpacked is how large a body may be after decompression: Ollama's own limit, in bytes.
const maxUnpacked = 20 << 20

// unpack decompresses a body as Ollama does on its OpenAI and Anthropic routes, because Corral must read what it
// queues. A body that can not be unpacked stays: Ollama says why.
func unpack(r *http.Request, body []byte) []byte {
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "zstd") || dialect.Of(r.URL.Path) == dialect.Ollama {
		return body
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return body
	}
	defer decoder.Close()
	plain, err := decoder.DecodeAll(body, nil)
	if err != nil {
		return body
	}
	r.Header.Del("Content-Encoding")
	return plain
}

// parse reads a body as its route has it.
func parse(route dialect.Route, r *http.Request, body []byte) (dialect.Envelope, error) {
	if route.Form {
		return route.ParseForm(r.Header.Get("Content-Type"), body)
	}
	return route.Parse(body)
}

// refuseBody answers a request whose body was not taken.
func (g *Gateway) refuseBody(w http.ResponseWriter, r *http.Request, limits config.Queue, err error) {
	switch {
	case errors.Is(err, errTooLarge):
		hangUp(w, r)
		g.reject(w, r, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("request body is larger than %s: raise queue.max_body in Corral's configuration", limits.MaxBody))
	case errors.Is(err, errNoRoom):
		status, message, retry := call.Full(dialect.Of(r.URL.Path))
		w.Header().Set("Retry-After", retry)
		hangUp(w, r)
		g.reject(w, r, status, message)
	default: // the client broke off: nobody listens
		hangUp(w, r)
		g.reject(w, r, http.StatusBadRequest, "the request body ended early")
	}
}

// hangUp ends a connection on which the rest of a body may still come. One of HTTP/2 carries other requests: there
// it is the stream that ends.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}

// setBody gives a request the body that was read from it, to be passed on.
func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
}
