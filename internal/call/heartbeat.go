package call

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"corral/internal/dialect"
)

// The first beat comes after firstBeat, or a third of the timeout that the client announces if that is less;
// the others follow in the same rhythm.
const (
	firstBeat    = 15 * time.Second
	quickestBeat = 100 * time.Millisecond
)

// beats keep a waiting client alive until its answer begins. Which beat a client bears was measured: see
// docs/heartbeats.md. The handler must not touch the ResponseWriter before stop.
type beats struct {
	w     http.ResponseWriter
	every time.Duration
	beat  func() bool // sends one; true if it committed status 200

	mu        sync.Mutex
	timer     *time.Timer
	stopped   bool
	committed bool
}

// startBeats starts the rhythm that fits a client and its request.
func startBeats(w http.ResponseWriter, r *http.Request, route dialect.Route, e dialect.Envelope) *beats {
	b := &beats{w: w, every: rhythm(r.Header)}
	switch {
	case !e.Stream && r.ProtoAtLeast(1, 1) && bears102(r.Header):
		b.beat = b.processing
	case e.Text:
		return b // whatever came before the text would be taken for a part of it
	default:
		b.beat = func() bool { return b.commit(route, e.Stream) }
	}
	b.mu.Lock() // a tick may come before its timer is known
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(b.every, b.tick)
	return b
}

func (b *beats) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.committed = b.beat() || b.committed
	b.timer.Reset(b.every)
}

// stop ends the beats and says whether they have committed status 200. After it, the ResponseWriter is the
// handler's.
func (b *beats) stop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	if b.timer != nil {
		b.timer.Stop()
	}
	return b.committed
}

// processing sends 102, which leaves the status free.
func (b *beats) processing() bool {
	b.w.WriteHeader(http.StatusProcessing)
	return false
}

// commit sends what a waiting answer may begin with: a comment, a ping event, or a space. The first one
// sends the headers, and with them status 200.
func (b *beats) commit(route dialect.Route, stream bool) bool {
	if !b.committed {
		h := b.w.Header()
		h.Set("Content-Type", route.PlainType)
		if stream {
			h.Set("Content-Type", route.StreamType)
			stayOut(h)
		}
		b.w.WriteHeader(http.StatusOK)
	}
	_, _ = b.w.Write(route.Beat(stream))
	_ = http.NewResponseController(b.w).Flush()
	return true
}

// stayOut asks middle boxes to pass a stream on as it comes: nginx not to buffer it, others not to compress it,
// which buffers too.
func stayOut(h http.Header) {
	h.Set("X-Accel-Buffering", "no")
	h.Set("Cache-Control", "no-cache, no-transform")
}

// rhythm is the time between beats for a client: a third of the timeout it announces, firstBeat at most.
// OpenAI's and Anthropic's SDKs announce theirs, in seconds.
func rhythm(h http.Header) time.Duration {
	every := firstBeat
	for _, name := range [...]string{"X-Stainless-Read-Timeout", "X-Stainless-Timeout"} {
		seconds, err := strconv.ParseFloat(h.Get(name), 64)
		if err != nil || !(seconds > 0) || seconds > 1e6 {
			continue
		}
		every = min(every, time.Duration(seconds*float64(time.Second))/3)
	}
	return max(every, quickestBeat)
}

// families102 are the user agents whose HTTP client takes any number of 102 answers before the real one:
// httpx (and the SDKs on it) and Node's fetch as ollama-js uses it. python-requests takes 102 for the final
// answer; openai-node, axios and Go do not count it as life.
var families102 = [...]string{
	"OpenAI/Python", "AsyncOpenAI/Python", "Anthropic/Python", "AsyncAnthropic/Python",
	"python-httpx/", "ollama-python/", "ollama-js/",
}

// bears102 says whether a client takes 102 Processing, and nothing between it and Corral shows that might
// swallow it.
func bears102(h http.Header) bool {
	for _, name := range [...]string{"Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if h.Get(name) != "" {
			return false
		}
	}
	agent := h.Get("User-Agent")
	for _, family := range families102 {
		if strings.Contains(agent, family) {
			return true
		}
	}
	return false
}
