package ollamatest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Offer is a model of the registry that a Server pulls from.
type Offer struct {
	Model // as it is when it has been pulled

	Layers []string // digests, "sha256:…"; default one, of the model's weights
	Bytes  int64    // of one layer, default Model.Size shared among the layers
	Rate   int64    // bytes a second, default: at once

	// FailAt ends the download after so many bytes of the layers together with the error Fail, 0: does not. What
	// has come stays, so that the next pull goes on from there.
	FailAt int64
	Fail   string
}

// LayerOf is the digest of a layer with that text as its content.
func LayerOf(text string) string { return "sha256:" + hexHash(text) }

// Offer makes a model pullable, replacing what was offered under its name. A Server with no offers pulls any name;
// one with offers knows no others.
func (s *Server) Offer(o Offer) {
	o.Model = o.withDefaults()
	if len(o.Layers) == 0 {
		o.Layers = []string{"sha256:" + o.Weights}
	}
	o.Bytes = cmp.Or(o.Bytes, o.Size/int64(len(o.Layers)))
	n, _ := parseName(o.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offers == nil {
		s.offers = map[string]Offer{}
	}
	s.offers[n.key()] = o
}

// Blobs is how many blobs the server has.
func (s *Server) Blobs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)
}

// progressLine is Ollama's api.ProgressResponse.
type progressLine struct {
	Status    string `json:"status"`
	Digest    string `json:"digest,omitempty"`
	Total     int64  `json:"total,omitempty"`
	Completed int64  `json:"completed,omitempty"`
}

// offered is what the registry has under a name.
func (s *Server) offered(n name) (Offer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offers == nil { // no registry: any name will do
		m := Model{Name: n.short()}
		if embedderName(n.model) {
			m.Capabilities = []string{"embedding"}
		}
		return Offer{Model: m.withDefaults()}, true
	}
	o, ok := s.offers[n.key()]
	return o, ok
}

// pull is PullHandler and PullModel.
func (s *Server) pull(w http.ResponseWriter, r *http.Request) {
	var q struct {
		namedRequest
		Stream *bool
	}
	if !bindNative(w, r, &q) {
		return
	}
	n, ok := parseName(cmp.Or(q.Model, q.Name))
	if !ok {
		nativeError(w, http.StatusBadRequest, "invalid model name")
		return
	}
	p := newProgress(w, q.Stream)
	p.say(progressLine{Status: "pulling manifest"})
	o, ok := s.offered(n)
	if !ok {
		p.fail(http.StatusInternalServerError, "pull model manifest: file does not exist")
		return
	}
	if err := s.download(r.Context(), o, p); err != nil {
		p.fail(http.StatusInternalServerError, err.Error())
		return
	}
	p.say(progressLine{Status: "verifying sha256 digest"})
	p.say(progressLine{Status: "writing manifest"})
	s.keep(o.Model, o.Layers)
	p.say(progressLine{Status: "success"})
	p.end()
}

// tick is how often a download tells how far it is.
const tick = 60 * time.Millisecond

// download is downloadBlob for every layer. One that is there already has one line; one that comes has a line a
// tick and none for its end.
func (s *Server) download(ctx context.Context, o Offer, p *progress) error {
	var before int64
	for _, layer := range o.Layers {
		line := progressLine{"pulling " + layer[7:19], layer, o.Bytes, o.Bytes}
		s.mu.Lock()
		known := s.blobs[layer]
		s.mu.Unlock()
		if known {
			p.say(line)
			before += o.Bytes
			continue
		}
		for done := s.partial(layer, 0); done < o.Bytes; {
			if o.FailAt > 0 && before+done >= o.FailAt {
				return fmt.Errorf("%s", o.Fail)
			}
			if o.Rate == 0 {
				break
			}
			if err := s.sched.sleep(ctx, tick); err != nil {
				return err
			}
			done = s.partial(layer, min(int64(float64(o.Rate)*tick.Seconds()), o.Bytes-done))
			line.Completed = done
			if done < o.Bytes {
				p.say(line)
			}
		}
		before += o.Bytes
		s.mu.Lock()
		s.blobs[layer] = true
		delete(s.partials, layer)
		s.mu.Unlock()
	}
	return nil
}

// partial adds to what has come of a layer.
func (s *Server) partial(layer string, more int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partials[layer] += more
	return s.partials[layer]
}

// keep makes a model known, and what it consists of.
func (s *Server) keep(m Model, layers []string) {
	s.Add(m)
	n, _ := parseName(m.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layers[n.key()] = layers
}

// dropLayers removes the layers of a model that no other has, as Manifest.RemoveLayers does. The caller holds mu.
func (s *Server) dropLayers(n name) {
	mine := s.layers[n.key()]
	delete(s.layers, n.key())
	for _, layer := range mine {
		used := false
		for _, others := range s.layers {
			used = used || slices.Contains(others, layer)
		}
		if !used {
			delete(s.blobs, layer)
		}
	}
}

// push is PushHandler and PushModel, to a registry that takes everything.
func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	var q struct {
		namedRequest
		Stream *bool
	}
	if !bindNative(w, r, &q) {
		return
	}
	asked := cmp.Or(q.Model, q.Name)
	if asked == "" {
		nativeError(w, http.StatusBadRequest, "model is required")
		return
	}
	p := newProgress(w, q.Stream)
	p.say(progressLine{Status: "retrieving manifest"})
	m := s.find(asked)
	if m == nil {
		p.say(progressLine{Status: "couldn't retrieve manifest"})
		p.fail(http.StatusInternalServerError, "open /models/manifests/"+asked+": no such file or directory")
		return
	}
	p.say(progressLine{"pushing " + m.Weights[:12], "sha256:" + m.Weights, m.Size, m.Size})
	p.say(progressLine{Status: "pushing manifest"})
	p.say(progressLine{Status: "success"})
	p.end()
}
