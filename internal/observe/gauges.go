package observe

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"corral/internal/dispatch"
	"corral/internal/fleet"
)

// State is what gauges are read from at the moment of a scrape.
type State struct {
	Queue     func() dispatch.Snapshot
	Instances func() []fleet.View
}

// gauges shows the state as it is, instead of counting along with it.
type gauges struct {
	mu    sync.Mutex
	lines map[line]bool // that were seen waiting once: shown as 0 when nothing waits, so that graphs have no gaps

	state                              State
	waiting, running, slots, limit, up *prometheus.Desc
}

// line is what waiting requests are counted by.
type line struct{ model, role string }

func newGauges(s State) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{
		lines:   map[line]bool{},
		state:   s,
		waiting: desc("corral_waiting", "Requests that wait for a slot.", "model", "role"),
		running: desc("corral_running", "Requests that hold a slot.", "lane", "model", "state"),
		slots:   desc("corral_slots", "Requests that the instance runs at once.", "lane", "model"),
		limit:   desc("corral_limit", "Slots that Corral uses.", "lane", "model"),
		up:      desc("corral_instance_up", "1 if the instance can be reached.", "instance", "version"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.waiting, g.running, g.slots, g.limit, g.up} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	queue := g.state.Queue()
	for l, n := range g.waitingLines(queue) {
		gauge(g.waiting, float64(n), l.model, l.role)
	}
	for _, l := range queue.Lanes {
		id, model := string(l.ID), strings.Join(l.Models, ",")
		gauge(g.running, float64(l.InFlight), id, model, l.State.String())
		gauge(g.slots, float64(l.Slots), id, model)
		gauge(g.limit, float64(l.Limit), id, model)
	}
	for _, v := range g.state.Instances() {
		up := 0.0
		if v.Up {
			up = 1
		}
		gauge(g.up, up, v.Name, v.Version)
	}
}

// waitingLines counts by line; classes differ in more than that.
func (g *gauges) waitingLines(queue dispatch.Snapshot) map[line]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := make(map[line]int, len(g.lines))
	for l := range g.lines {
		count[l] = 0
	}
	for _, c := range queue.Classes {
		l := line{c.Class.Model, string(c.Class.Role)}
		g.lines[l] = true
		count[l] += c.Waiting
	}
	return count
}
