package ollamatest

import (
	"io"
	"net/http"
)

// plainText marks a body that is no JSON.
type plainText string

// transcriptionAnswer is /v1/audio/transcriptions: the words and nothing else.
type transcriptionAnswer struct {
	openAIAnswer
	text bool // response_format=text
}

func (a *transcriptionAnswer) whole(text string, _ metrics) any {
	if a.text {
		return plainText(text)
	}
	return rawJSON{struct {
		Text string `json:"text"`
	}{text}}
}

func (s *Server) transcriptions(w http.ResponseWriter, r *http.Request) {
	a := &transcriptionAnswer{}
	if err := r.ParseMultipartForm(25 << 20); err != nil {
		a.fail(w, http.StatusBadRequest, "failed to parse multipart form: "+err.Error())
		return
	}
	a.model, a.text = r.FormValue("model"), r.FormValue("response_format") == "text"
	if a.model == "" {
		a.fail(w, http.StatusBadRequest, "model is required")
		return
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		a.fail(w, http.StatusBadRequest, "file is required: "+err.Error())
		return
	}
	defer file.Close()
	audio, err := io.ReadAll(file)
	if err != nil {
		a.fail(w, http.StatusInternalServerError, "failed to read audio file")
		return
	}
	if len(audio) == 0 {
		a.fail(w, http.StatusBadRequest, "audio file is empty")
		return
	}
	s.generating(w, r, task{model: a.model, verb: "chat", prompt: string(audio)}, a)
}
