// Command go asks one endpoint with the official Go clients of Ollama, OpenAI and Anthropic, and prints one line of
// JSON for each thing tried: test/e2e/sdk_test.go compares what they see with and without Corral.
//
// Usage: go run . BASE
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

const (
	hello  = "[[tokens=3 say=hello]]"
	object = `[[tokens=1 say={"x":"y"}]]`
	call   = `[[tokens=1 say={"name":"weather","parameters":{"city":"Rome"}}]]`
	stalls = "[[tokens=9 stall=2]]"
	pixel  = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)

var schema = map[string]any{"type": "object", "properties": map[string]any{"x": map[string]any{"type": "string"}}, "required": []string{"x"}}

// feature is one thing to try; its text is what the client returned.
type feature struct {
	name string
	try  func(context.Context) (string, error)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go BASE")
		os.Exit(2)
	}
	base, err := url.Parse(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for client, features := range map[string][]feature{
		"ollama/api": ollamaFeatures(base), "openai-go": openAIFeatures(base), "anthropic-sdk-go": anthropicFeatures(base),
	} {
		for _, f := range features {
			result, err := f.try(context.Background())
			if err != nil {
				result = fmt.Sprintf("%T: %v", err, err)
			}
			line, _ := json.Marshal(map[string]string{"client": client, "feature": f.name, "result": result})
			fmt.Println(strings.ReplaceAll(string(line), base.Host, "HOST"))
		}
	}
}

// raised is what a client says of an error that must come.
func raised(err error) (string, error) {
	if err == nil {
		return "", errors.New("no error was raised")
	}
	return fmt.Sprintf("raises %T %v", err, err), nil
}

func picture() []byte {
	b, err := base64.StdEncoding.DecodeString(pixel)
	if err != nil {
		panic(err)
	}
	return b
}
