package dialect

import (
	"bytes"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
)

// form is the body of a transcription, and its Content-Type; a field whose name ends in @ is a file.
func form(t *testing.T, fields ...string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		var err error
		if name, isFile := strings.CutSuffix(fields[i], "@"); isFile {
			part, e := w.CreateFormFile(name, "a.wav")
			if err = e; err == nil {
				_, err = part.Write([]byte(fields[i+1]))
			}
		} else {
			err = w.WriteField(name, fields[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func TestParseForm(t *testing.T) {
	r := route(t, "/v1/audio/transcriptions")
	for _, tt := range []struct {
		fields []string
		model  string
		text   bool
	}{
		{[]string{"file@", "RIFF", "model", "m"}, "m", false},
		{[]string{"model", "a", "model", "b", "file@", ""}, "a", false},
		{[]string{"model", "m", "response_format", "text", "file@", "x"}, "m", true},
		{[]string{"model", "m", "response_format", "json", "response_format", "text", "file@", "x"}, "m", false},
		{[]string{"model@", "file's", "model", "m", "file@", "x"}, "m", false},
	} {
		contentType, body := form(t, tt.fields...)
		e, err := r.ParseForm(contentType, body)
		if err != nil || e.Model != tt.model || e.Target != tt.model || e.Text != tt.text || e.PromptBytes != len(body) || !bytes.Equal(e.Body, body) {
			t.Errorf("%q: %+v, %v", tt.fields, e, err)
		}
	}
}

// TestParseFormRejects: what Ollama would not take either.
func TestParseFormRejects(t *testing.T) {
	r := route(t, "/v1/audio/transcriptions")
	contentType, whole := form(t, "model", "m", "file@", "RIFF")
	_, noModel := form(t, "file@", "RIFF")
	typeOf := func(b []byte) string {
		return "multipart/form-data; boundary=" + string(b[2:bytes.IndexByte(b, '\r')])
	}
	_, noFile := form(t, "model", "m", "file", "a field")
	for name, tt := range map[string]struct {
		contentType string
		body        []byte
	}{
		"no model":    {typeOf(noModel), noModel},
		"no file":     {typeOf(noFile), noFile},
		"half":        {contentType, whole[:len(whole)-30]},
		"JSON":        {"application/json", []byte(`{"model":"m"}`)},
		"no boundary": {"multipart/form-data", whole},
		"no type":     {"", whole},
		"other parts": {"multipart/form-data; boundary=zzz", whole},
	} {
		if e, err := r.ParseForm(tt.contentType, tt.body); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestEditForm: an alias changes the model that counts, and no other byte of the form.
func TestEditForm(t *testing.T) {
	r := route(t, "/v1/audio/transcriptions")
	contentType, body := form(t, "language", "en", "model", "whisper-1", "model", "two", "file@", "RI\r\nFF--", "response_format", "text")
	e, err := r.ParseForm(contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Edit(e, Edit{Model: "gemma4:e4b", NumCtx: 5, KeepAlive: "1h"})
	if got.Model != "whisper-1" || got.Target != "gemma4:e4b" || !got.Text || got.PromptBytes != len(body) {
		t.Errorf("%+v", got)
	}
	if want := bytes.Replace(body, []byte("whisper-1"), []byte("gemma4:e4b"), 1); !bytes.Equal(got.Body, want) {
		t.Errorf("got\n%s\nwant\n%s", got.Body, want)
	}
}

// FuzzParseForm: whatever Corral refuses to read, Go's own form reader, which is Ollama's, does not take for a
// transcription either; and what both take, they read alike.
func FuzzParseForm(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n"))
	f.Add("multipart/form-data; boundary=\"b b\"", []byte("--b b\r\n\r\n--b b--"))
	r, _ := Lookup("/v1/audio/transcriptions")
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		model := ""
		if media, params, err := mime.ParseMediaType(contentType); err == nil && media == "multipart/form-data" && params["boundary"] != "" {
			theirs, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(25 << 20)
			if err == nil && len(theirs.Value["model"]) > 0 && len(theirs.File["file"]) > 0 && len(theirs.Value["model"][0]) <= maxField {
				model = theirs.Value["model"][0]
			}
		}
		e, err := r.ParseForm(contentType, body)
		if model != "" && (err != nil || e.Model != model) {
			t.Errorf("%v: read %q, Ollama reads %q", err, e.Model, model)
		}
		if err != nil {
			return
		}
		edited := r.Edit(e, Edit{Model: "other"})
		if edited.Target == "other" {
			if again, err := r.ParseForm(contentType, edited.Body); err != nil || again.Model != "other" {
				t.Errorf("edited form: %+v, %v", again, err)
			}
		}
	})
}
