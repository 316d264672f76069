package observe

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"corral/internal/call"
	"corral/internal/dispatch"
	"corral/internal/fleet"
	"corral/internal/lane"
)

func TestObserver(t *testing.T) {
	var log bytes.Buffer
	o := New(slog.New(slog.NewJSONHandler(&log, nil)), State{
		Queue: func() dispatch.Snapshot {
			class := dispatch.Class{Weights: "w", Model: "m:latest", Role: lane.Generate}
			other := class
			other.Signature = `{"num_ctx":8192}`
			return dispatch.Snapshot{
				Lanes:   []dispatch.LaneView{{ID: "a/w", Instance: "a", Models: []string{"m:latest"}, State: lane.Open, Slots: 4, Limit: 3, InFlight: 2}},
				Classes: []dispatch.ClassView{{Class: class, Waiting: 5}, {Class: other, Waiting: 2}},
			}
		},
		Instances: func() []fleet.View { return []fleet.View{{Name: "a", Up: true, Version: "0.33.0"}, {Name: "b"}} },
	})
	o.Observe(call.Record{
		ID: "r1", Path: "/api/chat", Model: "m", Role: lane.Generate, Lane: "a/w", Instance: "a", Attempts: 2,
		Queued: time.Second, FirstByte: time.Second, Total: 3 * time.Second, Status: 200, Outcome: call.OutcomeAnswered,
	})
	o.Observe(call.Record{ID: "r2", Path: "/v1/messages", Status: 404, Outcome: call.OutcomeRejected, Error: "model 'x' not found"})

	page := httptest.NewRecorder()
	o.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`corral_waiting{model="m:latest",role="generate"} 7`, // two classes, one row
		`corral_running{lane="a/w",model="m:latest",state="open"} 2`,
		`corral_slots{lane="a/w",model="m:latest"} 4`, `corral_limit{lane="a/w",model="m:latest"} 3`,
		`corral_instance_up{instance="a",version="0.33.0"} 1`, `corral_instance_up{instance="b",version=""} 0`,
		`corral_requests_total{lane="a/w",outcome="answered"} 1`, `corral_requests_total{lane="",outcome="rejected"} 1`,
		`corral_attempts_total 2`, `corral_wait_seconds_count{role="generate"} 1`,
		`corral_request_duration_seconds_sum{role="generate"} 3`,
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if problems, err := testutil.GatherAndLint(o.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines for two requests: %s", len(lines), log.String())
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"outcome": "answered", "id": "r1", "instance": "a", "queue_ms": 1000.0, "total_ms": 3000.0, "attempts": 2.0} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var log bytes.Buffer
	o := New(slog.New(slog.NewJSONHandler(&log, nil)), State{})
	r := call.Record{
		ID: "0123456789abcdef", Path: "/v1/chat/completions", Model: "llama3.1:8b", Role: lane.Generate, Lane: "gpu-0/0123456789ab",
		Instance: "gpu-0", Tenant: "127.0.0.1", Attempts: 1, Queued: time.Microsecond, FirstByte: time.Second, Total: 3 * time.Second,
		Status: 200, Outcome: call.OutcomeAnswered,
	}
	b.ReportAllocs()
	for b.Loop() {
		o.Observe(r)
		log.Reset()
	}
}
