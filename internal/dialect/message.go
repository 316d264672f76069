package dialect

import (
	"encoding/json"
	"strings"
)

// maxMessage bounds an error text taken from an answer that is not JSON, in bytes.
const maxMessage = 500

// ErrorMessage reads the text of an error body in any of the three dialects; a body in none of them, such as
// a page of some proxy, is its own text, cut.
func ErrorMessage(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil && len(answer.Error) > 0 {
		var text string
		if json.Unmarshal(answer.Error, &text) == nil {
			return text
		}
		var detail struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(answer.Error, &detail) == nil && detail.Message != "" {
			return detail.Message
		}
	}
	text := strings.TrimSpace(string(body))
	return text[:min(len(text), maxMessage)]
}

// Separator ends a piece that was cut short, so that an event of Corral's own can follow.
func (r Route) Separator() []byte {
	if r.StreamType == ndjson {
		return []byte("\n")
	}
	return []byte("\n\n")
}
