package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The rows of the table.
const (
	rowRequest = "CPU per request, non-stream, 1 KB body"
	rowChunk   = "CPU per streamed chunk"
	rowP50     = "latency p50 at 3,000 req/s"
	rowP99     = "latency p99 at 3,000 req/s"
)

var rows = []string{rowRequest, rowChunk, rowP50, rowP99}

// measures are run for each subject in turn, so that what disturbs the machine disturbs both.
var measures = []measure{{rowRequest, measureRequests}, {rowChunk, measureChunks}, {"latency", measureLatency}}

// measure is one piece of work that fills one row or more.
type measure struct {
	name string
	run  func(context.Context, *subject) error
}

var plainBody = `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 190) + `"}]}`

var streamBody = strings.Replace(plainBody, `{"model":"m",`, `{"model":"m","stream":true,`, 1)

const (
	requests    = 8_000
	callers     = 32
	streams     = 64
	rate        = 3000 // requests a second
	rateSeconds = 2
)

func measureRequests(ctx context.Context, s *subject) error {
	client := newClient()
	defer client.CloseIdleConnections()
	return s.cpu(rowRequest, requests, func() error {
		return together(callers, func(int) error {
			for range requests / callers {
				if err := post(ctx, client, s.url, plainBody); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func measureChunks(ctx context.Context, s *subject) error {
	client := newClient()
	defer client.CloseIdleConnections()
	return s.cpu(rowChunk, streams*chunks, func() error {
		return together(streams, func(int) error { return post(ctx, client, s.url, streamBody) })
	})
}

// cpu records the CPU time that the subject uses for a piece of work, in microseconds per unit.
func (s *subject) cpu(row string, units int, work func() error) error {
	before, err := cpuTime(s.pid)
	if err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	after, err := cpuTime(s.pid)
	if err != nil {
		return err
	}
	s.got[row] = append(s.got[row], float64((after-before).Nanoseconds())/1000/float64(units))
	return nil
}

// measureLatency sends at a fixed rate, whatever comes back (open loop), and counts from when a request was due.
func measureLatency(ctx context.Context, s *subject) error {
	client := newClient()
	defer client.CloseIdleConnections()
	const n = rate * rateSeconds
	took := make([]float64, n)
	start := time.Now().Add(100 * time.Millisecond)
	err := together(n, func(i int) error {
		due := start.Add(time.Duration(i) * time.Second / rate)
		time.Sleep(time.Until(due))
		if err := post(ctx, client, s.url, plainBody); err != nil {
			return err
		}
		took[i] = float64(time.Since(due).Nanoseconds()) / 1000
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	s.got[rowP50] = append(s.got[rowP50], took[n/2])
	s.got[rowP99] = append(s.got[rowP99], took[n*99/100])
	return nil
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
}

func post(ctx context.Context, client *http.Client, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "AsyncOpenAI/Python 1.52.1")
	req.Header.Set("Authorization", "Bearer ollama")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// together runs n pieces of work at once and returns the first error.
func together(n int, work func(i int) error) error {
	errs := make(chan error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs <- work(i) })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
