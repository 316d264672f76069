package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// lookPatience is how long the user's Ollama may take to say what it is.
const lookPatience = 10 * time.Second

// ownStage is the user's own Ollama. Nothing is started there.
func ownStage(ctx context.Context, o Options) (*stage, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	look, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	if getJSON(look, base+"/corral/api/status", new(any)) == nil {
		return nil, fmt.Errorf("%s is a Corral: give the address of the Ollama behind it, since one column is without Corral", base)
	}
	models, err := modelsOf(look, base)
	if err != nil {
		return nil, err
	}
	if o.Model == "" {
		return nil, fmt.Errorf("no model named: say which with --model; %s has %s", base, list(models))
	}
	for _, name := range []string{o.Model, o.EmbedModel} {
		if name != "" && !slices.Contains(models, canonical(name)) {
			return nil, fmt.Errorf("model %s is not on %s, which has %s: choose one of them, or `ollama pull %s`", name, base, list(models), name)
		}
	}
	fmt.Fprintf(o.Out, "Nothing is simulated: this is your Ollama on %s, at its own pace. Nothing is started, stopped or changed there.\n"+
		"Corral is told that it runs %d at once: --slots should equal the OLLAMA_NUM_PARALLEL it was started with (default 1).\n\n", base, o.Slots)
	return &stage{
		generate: []string{base},
		embed:    base,
		yaml:     fmt.Sprintf("instances:\n  - {name: ollama, url: %q, slots: %d}\n", base, o.Slots),
		load:     load{model: o.Model, embedModel: o.EmbedModel, count: o.Calls},
		client:   clientOptions{timeout: o.Timeout, speed: 1},
		close:    func() {},
	}, nil
}

// baseURL takes an address as people write it: with or without scheme, with or without /v1.
func baseURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("--url %s is not an address: write it like http://127.0.0.1:11434", text)
	}
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimSuffix(strings.TrimRight(u.String(), "/"), "/v1"), nil
}

// modelsOf are the canonical names of the models that an Ollama has.
func modelsOf(ctx context.Context, base string) ([]string, error) {
	var tags struct {
		Models []struct{ Name string }
	}
	if err := getJSON(ctx, base+"/api/tags", &tags); err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // it repeats the address
		}
		return nil, fmt.Errorf("no Ollama answers on %s: %w: is it started (`ollama serve`), and is the address right?", base, err)
	}
	var names []string
	for _, m := range tags.Models {
		names = append(names, canonical(m.Name))
	}
	slices.Sort(names)
	return names, nil
}

// canonical is a name as `ollama list` shows it.
func canonical(name string) string {
	if !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		name += ":latest"
	}
	return strings.ToLower(name)
}

func list(names []string) string {
	if len(names) == 0 {
		return "no models"
	}
	return strings.Join(names, ", ")
}
