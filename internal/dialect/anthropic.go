package dialect

// anthropicPing is the event Anthropic's own API sends to keep a stream alive;
// its SDKs skip it.
const anthropicPing = "event: ping\ndata: {\"type\": \"ping\"}\n\n"

// anthropicError is the error of /v1/messages: of an answer and of a stream's
// error event.
type anthropicError struct {
	Type      string               `json:"type"` // "error"
	Error     anthropicErrorDetail `json:"error"`
	RequestID string               `json:"request_id,omitempty"`
}

type anthropicErrorDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func anthropicErrorOf(status int, message, requestID string) anthropicError {
	return anthropicError{
		Type:      "error",
		Error:     anthropicErrorDetail{anthropicErrorType(status), message},
		RequestID: requestID,
	}
}

func anthropicErrorType(status int) string {
	switch status {
	case 400:
		return "invalid_request_error"
	case 401:
		return "authentication_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 429:
		return "rate_limit_error"
	case 503, 529:
		return "overloaded_error"
	default:
		return "api_error"
	}
}
