package fleet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"corral/internal/dialect"
)

// listTimeout bounds how long a list of the whole fleet waits for its slowest instance.
const listTimeout = 700 * time.Millisecond

// Row is one entry of a list as its instance wrote it.
type Row struct {
	Raw      json.RawMessage `json:"-"`
	Model    string          `json:"model"`
	Name     string          `json:"name"`
	ID       string          `json:"id"`
	Digest   string          `json:"digest"`
	Size     int64           `json:"size"`    // bytes
	Created  int64           `json:"created"` // Unix seconds
	Modified string          `json:"modified_at"`
	Expires  string          `json:"expires_at"`
}

// As is the same row under another name, which replaces the model's own wherever the row says it.
func (r Row) As(name string) Row {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(r.Raw, &fields) != nil {
		return r
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return r
	}
	for field, own := range map[string]*string{"name": &r.Name, "model": &r.Model, "id": &r.ID} {
		if _, says := fields[field]; says {
			fields[field], *own = quoted, name
		}
	}
	if raw, err := json.Marshal(fields); err == nil {
		r.Raw = raw
	}
	return r
}

// Canonical is the name of its model, however it is written.
func (r Row) Canonical() string { return dialect.CanonicalModel(cmp.Or(r.Name, r.Model, r.ID)) }

// Tags is the models of all reachable instances, one row a name, newest first as Ollama lists them. Where
// digests differ, the first instance in file order is shown: the one that is used.
func (f *Fleet) Tags(ctx context.Context) []Row {
	rows := f.list(ctx, "/api/tags", "models", func(_, _ Row) bool { return false })
	slices.SortStableFunc(rows, func(a, b Row) int { return compareTimes(b.Modified, a.Modified) })
	return rows
}

// Loaded is the models that are loaded somewhere, one row a name: the one that stays longest.
func (f *Fleet) Loaded(ctx context.Context) []Row {
	rows := f.list(ctx, "/api/ps", "models", func(old, row Row) bool { return compareTimes(old.Expires, row.Expires) < 0 })
	slices.SortStableFunc(rows, func(a, b Row) int { return compareTimes(b.Expires, a.Expires) })
	return rows
}

// OpenAIModels is the models of all reachable instances as /v1/models lists them, newest first.
func (f *Fleet) OpenAIModels(ctx context.Context) []Row {
	rows := f.list(ctx, "/v1/models", "data", func(_, _ Row) bool { return false })
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(b.Created, a.Created) })
	return rows
}

// list asks every reachable instance and merges the rows by name; better says whether a later row should
// replace an earlier one. An instance that does not answer in time is shown as it last was.
func (f *Fleet) list(ctx context.Context, path, key string, better func(old, row Row) bool) []Row {
	var up []*instance
	for _, in := range f.all() {
		if in.isUp() {
			up = append(up, in)
		}
	}
	answers := make([][]Row, len(up))
	var all sync.WaitGroup
	for i, in := range up {
		all.Go(func() { answers[i] = in.rows(ctx, path, key) })
	}
	all.Wait()
	merged, at := []Row{}, map[string]int{}
	for _, rows := range answers {
		for _, row := range rows {
			i, seen := at[row.Canonical()]
			switch {
			case !seen:
				at[row.Canonical()] = len(merged)
				merged = append(merged, row)
			case better(merged[i], row):
				merged[i] = row
			}
		}
	}
	return merged
}

// rows is what the instance shows of itself in a list: what it last said where it does not answer in time, because
// a model that comes and goes with the load of its instance confuses whoever looks at it.
func (in *instance) rows(ctx context.Context, path, key string) []Row {
	rows, err := in.askRows(ctx, listTimeout, path, key)
	if err != nil {
		in.lookNow()
		in.fleet.mu.RLock()
		rows = in.said[path]
		in.fleet.mu.RUnlock()
	}
	shown := make([]Row, 0, len(rows))
	for _, row := range rows {
		if in.lists(row.Canonical()) {
			shown = append(shown, row)
		}
	}
	return shown
}

// askRows asks the instance for a list and remembers the answer.
func (in *instance) askRows(ctx context.Context, timeout time.Duration, path, key string) ([]Row, error) {
	answer := map[string]json.RawMessage{}
	if _, err := in.getJSON(ctx, timeout, path, &answer); err != nil {
		return nil, err
	}
	var raws []json.RawMessage
	if list := answer[key]; list != nil {
		if err := json.Unmarshal(list, &raws); err != nil {
			return nil, fmt.Errorf("%s: not an Ollama's answer: %w", path, err)
		}
	}
	rows := make([]Row, 0, len(raws))
	for _, raw := range raws {
		row := Row{Raw: bytes.Clone(raw)}
		if json.Unmarshal(raw, &row) == nil {
			rows = append(rows, row)
		}
	}
	in.fleet.mu.Lock()
	in.said[path] = rows
	in.fleet.mu.Unlock()
	return rows, nil
}

// lists says whether the configuration lets the instance serve a model.
func (in *instance) lists(canonical string) bool {
	in.fleet.mu.RLock()
	defer in.fleet.mu.RUnlock()
	return in.config.Serves(canonical)
}

func compareTimes(a, b string) int {
	at, aErr := time.Parse(time.RFC3339Nano, a)
	bt, bErr := time.Parse(time.RFC3339Nano, b)
	if aErr != nil || bErr != nil {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(at.Unix(), bt.Unix()) // as Ollama compares them
}

// Version is the lowest version among reachable instances that is not zero, because a client may rely on what
// it says; "0.0.0" when all are builds without a version; "" when none can be reached.
func (f *Fleet) Version() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	lowest, zero := "", ""
	for _, in := range f.instances {
		switch {
		case !in.up:
		case in.version == "0.0.0" || in.version == "":
			zero = cmp.Or(in.version, "0.0.0")
		case lowest == "" || compareVersions(in.version, lowest) < 0:
			lowest = in.version
		}
	}
	return cmp.Or(lowest, zero)
}

// compareVersions orders "0.9.0" before "0.10.0", and "0.33.0-rc2" before "0.33.0".
func compareVersions(a, b string) int {
	a, aPre, _ := strings.Cut(a, "-")
	b, bPre, _ := strings.Cut(b, "-")
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := cmp.Compare(part(as, i), part(bs, i)); c != 0 {
			return c
		}
	}
	if (aPre == "") != (bPre == "") {
		return cmp.Compare(len(bPre), len(aPre)) // a release is later than what came before it
	}
	return cmp.Compare(aPre, bPre)
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}

// unloadTimeout bounds how long one instance may take to answer that it unloads a model.
const unloadTimeout = 30 * time.Second

// Unload asks every reachable instance that has the model to unload it, and returns the first good answer in file
// order, or the first. The caller closes its body.
func (f *Fleet) Unload(ctx context.Context, canonical, path string, header http.Header, body []byte) (*http.Response, error) {
	holders := f.Holders(canonical)
	answers := make([]*http.Response, len(holders))
	errs := make([]error, len(holders))
	var all sync.WaitGroup
	for i, target := range holders {
		all.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			timeout := time.AfterFunc(unloadTimeout, cancel) // of the headers: the body is read later
			defer timeout.Stop()
			answers[i], errs[i] = target.Do(ctx, http.MethodPost, path, header, body)
			if errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	f.Changed()
	var best *http.Response
	for _, resp := range answers {
		switch {
		case resp == nil:
		case best == nil:
			best = resp
		case best.StatusCode != http.StatusOK && resp.StatusCode == http.StatusOK:
			_ = best.Body.Close()
			best = resp
		default:
			_ = resp.Body.Close()
		}
	}
	if best == nil {
		return nil, errors.Join(errs...)
	}
	return best, nil
}
