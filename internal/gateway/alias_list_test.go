package gateway_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// TestAliasIsListed: an alias of one name has a row of its own, with what is true of the model that it stands for; one
// with wildcards has none, but its names can be asked about.
func TestAliasIsListed(t *testing.T) {
	models := func(names ...string) ollamatest.Options {
		var o ollamatest.Options
		for _, n := range names {
			o.Models = append(o.Models, ollamatest.Model{Name: n})
		}
		return o
	}
	bubble(t, []instance{{name: "a", options: models("small", "taken")}}, func(g *rig) {
		g.aliases(
			config.Alias{Name: "gpt-4o", Model: "big", Fallbacks: []config.Fallback{{To: "small"}}},
			config.Alias{Name: "claude-haiku-*", Model: "small"},
			config.Alias{Name: "taken", Model: "small"},
			config.Alias{Name: "nothing", Model: "absent"},
		)
		var tags struct {
			Models []struct{ Name, Model, Digest string }
		}
		if err := json.Unmarshal([]byte(g.get("/api/tags").body), &tags); err != nil {
			g.Fatal(err)
		}
		digests := map[string]string{}
		for _, m := range tags.Models {
			if m.Name != m.Model {
				g.Errorf("%+v", m)
			}
			digests[m.Name] = m.Digest
		}
		if small := digests["small:latest"]; len(tags.Models) != 3 || small == "" || digests["gpt-4o"] != small || digests["taken"] != small {
			g.Errorf("tags: %+v", tags.Models)
		}
		list := g.get("/v1/models").body
		for _, id := range []string{`"id":"gpt-4o"`, `"id":"taken"`, `"id":"small:latest"`} {
			if strings.Count(list, id) != 1 {
				g.Errorf("%s in /v1/models: %s", id, list)
			}
		}
		for _, name := range []string{"gpt-4o", "claude-haiku-4-5"} {
			if a := g.get("/v1/models/" + name); a.status != http.StatusOK || !strings.Contains(a.body, `"id":"`+name+`"`) {
				g.Errorf("%s: %d %s", name, a.status, a.body)
			}
			show := g.post("/api/show", `{"name":"`+name+`"}`)
			if want := g.post("/api/show", `{"model":"small"}`); show.status != http.StatusOK || show.body != want.body {
				g.Errorf("%s: %d %s", name, show.status, show.body)
			}
		}
		if a := g.get("/v1/models/nothing"); a.status != http.StatusNotFound {
			g.Errorf("an alias of a model that nobody has: %d %s", a.status, a.body)
		}
		if a := g.post("/api/show", `{"model":"nothing"}`); a.status != http.StatusNotFound {
			g.Errorf("an alias of a model that nobody has: %d %s", a.status, a.body)
		}
	})
}

// transcription is the body of a request to write down what a file says, and its Content-Type.
func transcription(model, says, format string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("model", model)
	_ = w.WriteField("response_format", format)
	file, _ := w.CreateFormFile("file", "a.wav")
	_, _ = file.Write([]byte(says))
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

// TestTranscription: a form waits for its slot like everything else, by its model or an alias of it, and hears
// heartbeats only where they are no part of the text.
func TestTranscription(t *testing.T) {
	const path = "/v1/audio/transcriptions"
	bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
		g.aliases(config.Alias{Name: "whisper-*", Model: "m1"})
		ask := func(model, format string, header ...string) answer {
			body, contentType := transcription(model, "hello", format)
			return g.post(path, body, append(header, "Content-Type", contentType)...)
		}
		first := g.busy(40 * time.Second)
		if a := ask("whisper-1", "json"); a.status != http.StatusOK || !strings.HasPrefix(a.body, " ") || !strings.Contains(a.body, `{"text":"`) {
			g.Errorf("json: %d %q", a.status, a.body)
		}
		first.Wait()
		second := g.busy(40 * time.Second)
		if a := ask("m1", "text"); a.status != http.StatusOK || strings.HasPrefix(a.body, " ") || a.header.Get("Content-Type") != "text/plain" {
			g.Errorf("text: %d %q %v", a.status, a.body, a.header)
		}
		second.Wait()
		for model, most := range g.servers["a"].Stats().MaxWaiting {
			if most > 0 {
				g.Errorf("%d waited in Ollama for %s", most, model)
			}
		}
		for name, tt := range map[string]struct {
			body, contentType string
			status            int
			says              string
		}{
			"no form": {`{"model":"m1"}`, "application/json", 400, "failed to parse multipart form"},
			"half":    {"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm1", "multipart/form-data; boundary=b", 400, "failed to parse multipart form"},
		} {
			if a := g.post(path, tt.body, "Content-Type", tt.contentType); a.status != tt.status || !strings.Contains(a.body, tt.says) {
				g.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		if a := ask("absent", "json"); a.status != http.StatusNotFound || !strings.Contains(a.body, "not_found_error") {
			g.Errorf("absent model: %d %s", a.status, a.body)
		}
	})
}
