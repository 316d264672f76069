package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"corral/internal/dialect"
)

// maxAnswer bounds what is read of an instance's answer to a question of Corral's own, in bytes.
const maxAnswer = 64 << 20

var jsonHeader = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"corral"}}

// getJSON asks the instance and decodes its answer. The timeout is for the whole answer.
func (in *instance) getJSON(ctx context.Context, timeout time.Duration, path string, answer any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return in.ask(ctx, http.MethodGet, path, nil, answer)
}

func (in *instance) postJSON(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	_, err = in.ask(ctx, http.MethodPost, path, body, answer)
	return err
}

func (in *instance) ask(ctx context.Context, method, path string, body []byte, answer any) (http.Header, error) {
	resp, err := in.target.Do(ctx, method, path, jsonHeader, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Header, &statusError{what: path, status: resp.StatusCode, message: dialect.ErrorMessage(data)}
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			return nil, fmt.Errorf("%s: not an Ollama's answer: %w", path, err)
		}
	}
	return resp.Header, nil
}
