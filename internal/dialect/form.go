package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
)

var (
	errForm  = errors.New("not multipart/form-data with a boundary")
	errField = errors.New("a form without `model` or `file`")
)

// maxField bounds a form's field that Corral reads, in bytes; no model's name is longer.
const maxField = 4 << 10

// ParseForm is Parse for a route that takes a form. It reads multipart/form-data
// as Go's Request.FormValue and FormFile do: of fields of one name the first
// counts. What it rejects, Ollama rejects too. A `model` in the URL's query, which Ollama would prefer, is not
// looked at.
func (r Route) ParseForm(contentType string, body []byte) (Envelope, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return Envelope{}, fmt.Errorf("parse %s body: %w", r.Path, errForm)
	}
	e := Envelope{PromptBytes: len(body), Body: body, boundary: params["boundary"]}
	fields, file := map[string]string{}, false
	err = e.parts(func(p *multipart.Part) error {
		name := p.FormName()
		if p.FileName() != "" {
			file = file || name == "file"
			return nil
		}
		if _, seen := fields[name]; seen || name != "model" && name != "response_format" {
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(p, maxField))
		fields[name] = string(value)
		return err
	})
	if err == nil && (fields["model"] == "" || !file) {
		err = errField
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("parse %s body: %w", r.Path, err)
	}
	e.Model, e.Target, e.Text = fields["model"], fields["model"], fields["response_format"] == "text"
	return e, nil
}

// parts calls do for every part of a form, until one fails.
func (e Envelope) parts(do func(*multipart.Part) error) error {
	reader := multipart.NewReader(bytes.NewReader(e.Body), e.boundary)
	for {
		p, err := reader.NextPart()
		if err == io.EOF { // wrapped it is the end of half a form
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(p); err != nil {
			return err
		}
	}
}

// editForm is Edit for a form: it has a place for the model and for no other default.
func (e Envelope) editForm(model string) Envelope {
	var out bytes.Buffer
	out.Grow(len(e.Body) + len(model))
	w := multipart.NewWriter(&out)
	if w.SetBoundary(e.boundary) != nil {
		return e // no boundary that a multipart writer takes, so no client sent it
	}
	done := false
	err := e.parts(func(p *multipart.Part) error {
		to, err := w.CreatePart(p.Header)
		if err != nil {
			return err
		}
		from := io.Reader(p)
		if !done && p.FormName() == "model" && p.FileName() == "" {
			from, done = bytes.NewReader([]byte(model)), true
		}
		_, err = io.Copy(to, from)
		return err
	})
	if err != nil || w.Close() != nil {
		return e // ParseForm has read the same parts
	}
	e.Body, e.Target = out.Bytes(), model
	return e
}
