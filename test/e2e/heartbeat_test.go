//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The clients of TestHeartbeats give up after clientTimeout without a byte. They wait until a witness that waits with
// them has heard beatsToHear beats, which come three to a timeout.
const (
	clientTimeout = 3 * time.Second
	beatsToHear   = 10
)

// outcome is what one client returned or raised in one case.
type outcome struct {
	Requests     int // not 0: the line before the outcomes
	Client, Case string
	Answer       *string
	Error        string
}

// TestHeartbeats: real clients wait in the queue for several times their timeout, then each gets its own answer, or
// raises an error when its request fails; none takes a failure for an empty success. The same clients give up on an
// Ollama that is as busy.
func TestHeartbeats(t *testing.T) {
	seconds := strconv.Itoa(int(clientTimeout.Seconds()))
	c := newCorral(t, configOf(langA, langB), nil)
	c.awaitUp(t, 2)
	free := c.busy(t, 2*slots)
	programs := []*exec.Cmd{
		pythonProgram(t, "clients.py", c.URL, langA.URL, seconds),
		nodeProgram(t, "clients.mjs", c.URL, langA.URL, seconds),
	}
	var mu sync.Mutex
	var all []outcome
	tell := func(o outcome) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
	}
	var running, announced sync.WaitGroup
	waiting := 0
	for _, p := range programs {
		announced.Add(1)
		running.Go(func() {
			first := sync.OnceFunc(announced.Done)
			defer first()
			follow(t, p, func(o outcome) {
				if o.Requests > 0 {
					mu.Lock()
					waiting += o.Requests
					mu.Unlock()
					first()
					return
				}
				tell(o)
			})
		})
	}
	for _, o := range []outcome{{Case: "answered"}, {Case: "failed"}, {Case: "direct"}} {
		base := map[string]string{"direct": langA.URL}[o.Case]
		if base == "" {
			base = c.URL
		}
		running.Go(func() { tell(goClient(t, base, o.Case)) })
	}
	announced.Wait()
	mu.Lock()
	waiting += 2 // Go's
	mu.Unlock()
	c.awaitQueue(t, waiting, 2*slots)
	witness(t, c)
	free()
	running.Wait()
	judge(t, all, waiting)
}

// follow runs a program that prints outcomes.
func follow(t *testing.T, p *exec.Cmd, tell func(outcome)) {
	out, err := p.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	var complaints strings.Builder
	p.Stderr = &complaints
	if err := p.Start(); err != nil {
		t.Error(err)
		return
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Errorf("%s: %v: %s", p.Path, err, lines.Text())
			continue
		}
		tell(o)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", p.Path, err, complaints.String())
	}
}

// goClient asks once with net/http, which counts the time to the headers only.
func goClient(t *testing.T, base, kind string) outcome {
	o := outcome{Client: "goClient", Case: kind}
	prompt := "[[tokens=3 say=go-goClient.]]"
	if kind == "failed" {
		prompt = "[[fail]]"
	}
	transport := &http.Transport{ResponseHeaderTimeout: clientTimeout}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/chat", strings.NewReader(chat("m", prompt, `,"stream":false`)))
	if err != nil {
		o.Error = err.Error()
		return o
	}
	req.Header.Set("X-Stainless-Read-Timeout", strconv.Itoa(int(clientTimeout.Seconds())))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		o.Error = err.Error()
		return o
	}
	defer resp.Body.Close()
	var reply struct{ Message struct{ Content string } }
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || resp.StatusCode != http.StatusOK {
		o.Error = fmt.Sprint(resp.Status, " ", err)
		return o
	}
	o.Answer = &reply.Message.Content
	return o
}

// witness waits in the queue until it has heard its beats, and hangs up.
func witness(t *testing.T, c *corral) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/api/chat", strings.NewReader(chat("m", "witness", `,"stream":false`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Stainless-Read-Timeout", strconv.Itoa(int(clientTimeout.Seconds())))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	beats := make([]byte, beatsToHear)
	if _, err := io.ReadFull(resp.Body, beats); err != nil || strings.TrimSpace(string(beats)) != "" {
		t.Errorf("the witness heard %q, %v", beats, err)
	}
}

// judge checks what every client told.
func judge(t *testing.T, all []outcome, requests int) {
	t.Helper()
	if len(all) != requests/2*3 {
		t.Errorf("%d outcomes for %d requests", len(all), requests)
	}
	for _, o := range all {
		said := "nothing"
		if o.Answer != nil {
			said = strconv.Quote(*o.Answer)
		}
		switch o.Case {
		case "answered":
			if o.Answer == nil || !strings.Contains(*o.Answer, "-"+o.Client+".") {
				t.Errorf("%s got %s %s", o.Client, said, o.Error)
			}
		case "failed":
			if o.Answer != nil || o.Error == "" {
				t.Errorf("%s takes a failure for the answer %s", o.Client, said)
			}
			t.Logf("%s raises %s", o.Client, o.Error)
		case "direct":
			if o.Answer != nil || o.Error == "" {
				t.Errorf("%s waited for a busy Ollama: its timeout shows nothing", o.Client)
			}
		}
	}
}
