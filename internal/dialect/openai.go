package dialect

// openAIError is the error of /v1/*; param and code are always null.
type openAIError struct {
	Error openAIErrorDetail `json:"error"`
}

type openAIErrorDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   any     `json:"param"`
	Code    *string `json:"code"`
}

func openAIErrorOf(status int, message string) openAIError {
	kind := "api_error"
	switch status {
	case 400:
		kind = "invalid_request_error"
	case 404:
		kind = "not_found_error"
	}
	return openAIError{openAIErrorDetail{Message: message, Type: kind}}
}

// responsesFailed is the terminal event of a /v1/responses stream that failed,
// as Ollama sends it when a web search fails. Readers of the protocol (Codex)
// look at response.error. The SDKs do not: they hand the event over as any other
// and a plain loop over text deltas would miss it; but the Python, JavaScript
// and Go ones raise an error for any event with a top-level `error`.
type responsesFailed struct {
	Type           string            `json:"type"`
	SequenceNumber int               `json:"sequence_number"`
	Response       failedResponse    `json:"response"`
	Error          openAIErrorDetail `json:"error"`
}

type failedResponse struct {
	ID        string         `json:"id"`
	Object    string         `json:"object"`
	CreatedAt int64          `json:"created_at"`
	Status    string         `json:"status"`
	Model     string         `json:"model"`
	Output    []any          `json:"output"`
	Error     responsesError `json:"error"`
}

type responsesError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func responsesFailure(status int, message string) []byte {
	code := "server_error"
	if status == 429 {
		code = "rate_limit_exceeded"
	}
	return event("response.failed", marshal(responsesFailed{
		Type: "response.failed",
		Response: failedResponse{
			Object: "response",
			Status: "failed",
			Output: []any{},
			Error:  responsesError{code, message},
		},
		Error: openAIErrorOf(status, message).Error,
	}))
}
