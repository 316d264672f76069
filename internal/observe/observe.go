// Package observe shows what happens: Prometheus metrics, and one log line a request. It reads snapshots of
// the other rooms and is told of calls at their end; no prompt and no secret reaches it.
package observe

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"corral/internal/call"
	"corral/internal/lane"
)

// Observer counts and logs calls. Safe for concurrent use.
type Observer struct {
	log      *slog.Logger
	registry *prometheus.Registry

	requests *prometheus.CounterVec
	warnings *prometheus.CounterVec
	attempts prometheus.Counter
	times    map[lane.Role]times
	reloaded prometheus.Gauge
}

// times are the histograms of one role.
type times struct{ wait, firstByte, duration prometheus.Observer }

// seconds are the upper bounds of histogram buckets: from a fast embedding to a long reply behind a long queue.
var seconds = []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}

// New is an observer with metrics of its own registry; state shows what is true at the moment of a scrape.
func New(log *slog.Logger, state State) *Observer {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: seconds,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"role"})
	}
	o := &Observer{
		log:      log,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "corral_requests_total", Help: "Requests by the lane of their last attempt and by outcome.",
		}, []string{"lane", "outcome"}),
		warnings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "corral_answer_warnings_total",
			Help: "Whole answers that are not what was asked for: a prompt cut at the context, no text but thinking, or none at all.",
		}, []string{"lane", "verdict"}),
		attempts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "corral_attempts_total", Help: "Grants that requests used: more than requests means some were tried again.",
		}),
		times: map[lane.Role]times{},
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "corral_config_last_reload_successful",
			Help: "1 if the configuration in force is that of the file, 0 if a later one was refused.",
		}),
	}
	o.reloaded.Set(1)
	wait := histogram("corral_wait_seconds", "Time from arrival to the last grant.")
	firstByte := histogram("corral_first_byte_seconds", "Time from the last grant to the first byte of the answer.")
	duration := histogram("corral_request_duration_seconds", "Time from arrival to the end of the answer.")
	for _, role := range []lane.Role{lane.Generate, lane.Embed} {
		label := string(role)
		o.times[role] = times{wait.WithLabelValues(label), firstByte.WithLabelValues(label), duration.WithLabelValues(label)}
	}
	o.registry.MustRegister(o.requests, o.warnings, o.attempts, o.reloaded, wait, firstByte, duration, newGauges(state),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return o
}

// Handler answers GET /metrics.
func (o *Observer) Handler() http.Handler {
	return promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{})
}

// Reloaded says whether the last configuration that was read is in force.
func (o *Observer) Reloaded(ok bool) {
	o.reloaded.Set(0)
	if ok {
		o.reloaded.Set(1)
	}
}

// Observe counts a call and writes its line.
func (o *Observer) Observe(r call.Record) {
	o.requests.WithLabelValues(string(r.Lane), string(r.Outcome)).Inc()
	for _, v := range r.Verdicts {
		o.warnings.WithLabelValues(string(r.Lane), string(v)).Inc()
	}
	o.attempts.Add(float64(r.Attempts))
	if t, ok := o.times[r.Role]; ok && r.Attempts > 0 {
		t.wait.Observe(r.Queued.Seconds())
		t.duration.Observe(r.Total.Seconds())
		if r.FirstByte > 0 {
			t.firstByte.Observe(r.FirstByte.Seconds())
		}
	}
	level := slog.LevelInfo
	switch r.Outcome {
	case call.OutcomeFailed, call.OutcomeBroken, call.OutcomeFull:
		level = slog.LevelWarn
	}
	if !o.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 14)
	attrs = append(attrs, slog.String("outcome", string(r.Outcome)), slog.Int("status", r.Status),
		slog.String("path", r.Path), slog.String("model", r.Model), slog.String("instance", r.Instance),
		slog.Int64("queue_ms", r.Queued.Milliseconds()), slog.Int64("total_ms", r.Total.Milliseconds()),
		slog.Int("attempts", r.Attempts), slog.Bool("stream", r.Stream), slog.String("tenant", r.Tenant),
		slog.String("id", r.ID))
	if r.Error != "" {
		attrs = append(attrs, slog.String("error", r.Error))
	}
	o.log.LogAttrs(context.Background(), level, "request", attrs...)
}
