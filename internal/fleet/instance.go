package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"corral/internal/config"
	"corral/internal/lane"
	"corral/internal/relay"
)

// How often instances are looked at, and how long a look may take. Polls are jittered by a fifth, so that
// instances are not asked in step.
const (
	pollEvery    = 5 * time.Second
	probeTimeout = 4 * time.Second
	retryFirst   = time.Second      // after an instance went down
	retryMost    = 10 * time.Second // ever after
)

// missesAllowed is how many probes in a row a slow instance may miss before it counts as down. A refused
// connection counts at once.
const missesAllowed = 2

// instance is one Ollama server. Fields below the line are guarded by Fleet.mu.
type instance struct {
	fleet  *Fleet
	name   string
	ctx    context.Context
	stop   context.CancelFunc
	wake   chan struct{} // look now
	met    chan struct{} // closed after the first look
	target *relay.Target

	config          config.Instance
	order           int
	up              bool
	seen            bool // it has answered at least once
	looping         bool // it is a Corral
	version         string
	failure         error             // why it is down
	models          map[string]*model // by canonical name; what it last said, also when it is down
	asked, answered uint64            // inventories that were begun, and the newest one that is kept
	said            map[string][]Row  // last answers to questions for a list, by path
	leftOut         map[string]bool   // models of which it was said that they can not be described
	loaded          map[lane.ID]time.Time
	contexts        map[lane.ID]int // tokens that a loaded model holds
}

func newInstance(f *Fleet, c config.Instance, t *relay.Target, order int) *instance {
	ctx, stop := context.WithCancel(f.ctx)
	return &instance{
		fleet: f, name: c.Name, ctx: ctx, stop: stop, wake: make(chan struct{}, 1), met: make(chan struct{}), target: t, config: c, order: order,
		models: map[string]*model{}, said: map[string][]Row{}, leftOut: map[string]bool{}, loaded: map[lane.ID]time.Time{}, contexts: map[lane.ID]int{},
	}
}

// poll watches the instance until ctx ends.
func (in *instance) poll(ctx context.Context) {
	misses, retry := 0, retryFirst
	met := sync.OnceFunc(func() { close(in.met) })
	for {
		next, err := in.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			misses, retry = 0, retryFirst
		} else {
			misses++
			if relay.Unstarted(err) || errors.Is(err, errLoop) || misses >= missesAllowed || !in.isUp() {
				in.setDown(err)
			}
			next, retry = retry, min(2*retry, retryMost)
		}
		met()
		timer := time.NewTimer(jitter(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-in.wake:
			timer.Stop()
		}
	}
}

// look asks the instance how it is and what it has, and says when to look again.
func (in *instance) look(ctx context.Context) (next time.Duration, err error) {
	started := time.Now()
	version, err := in.probe(ctx)
	if err != nil {
		return 0, err
	}
	if err := in.takeInventory(ctx); err != nil {
		return 0, err
	}
	in.setUp(version)
	return in.checkLoaded(ctx, started)
}

var errLoop = errors.New("it is a Corral, not an Ollama: requests would go round in a circle")

// probe asks for the version; a Corral that answers is refused.
func (in *instance) probe(ctx context.Context) (string, error) {
	var answer struct {
		Version string `json:"version"`
	}
	header, err := in.getJSON(ctx, probeTimeout, "/api/version", &answer)
	if header.Get(ServerHeader) != "" {
		return "", errLoop
	}
	if _, answered := errors.AsType[*statusError](err); answered {
		return "", fmt.Errorf("something answers there, but not as an Ollama does: %w", err)
	}
	if err != nil {
		return "", err
	}
	return answer.Version, nil
}

// ServerHeader is in every answer of a Corral's own, so that another one recognises it.
const ServerHeader = "X-Corral-Version"

func (in *instance) isUp() bool {
	in.fleet.mu.RLock()
	defer in.fleet.mu.RUnlock()
	return in.up
}

func (in *instance) setUp(version string) {
	f := in.fleet
	f.tell.Lock()
	defer f.tell.Unlock()
	f.mu.Lock()
	was, wasVersion, models := in.up, in.version, len(in.models)
	in.up, in.seen, in.looping, in.version, in.failure = true, true, false, version, nil
	speaks := in.speaks()
	f.mu.Unlock()
	if !speaks {
		return
	}
	if !was {
		f.log.Info("instance is up", "instance", in.name, "url", in.target.URL.String(), "version", version, "models", models)
		f.dispatcher.SetUp(in.name, true)
	} else if wasVersion != version {
		f.log.Info("instance changed its version", "instance", in.name, "from", wasVersion, "to", version)
	}
}

// speaks says whether the dispatcher knows this instance by its name: one that was replaced has lost it to its
// successor. The caller holds Fleet.mu.
func (in *instance) speaks() bool {
	return !slices.ContainsFunc(in.fleet.instances, func(x *instance) bool { return x.name == in.name && x != in })
}

func (in *instance) setDown(err error) {
	f := in.fleet
	f.tell.Lock()
	defer f.tell.Unlock()
	f.mu.Lock()
	was, first := in.up, in.failure == nil
	in.up, in.failure, in.looping = false, err, errors.Is(err, errLoop)
	speaks := in.speaks()
	f.mu.Unlock()
	if (!was && !first) || !speaks {
		return
	}
	f.log.Warn("instance is down: its work goes elsewhere or waits, it is asked again until it answers",
		"instance", in.name, "url", in.target.URL.String(), "error", err)
	f.dispatcher.SetUp(in.name, false)
	if t, ok := in.target.Client.(*http.Transport); ok {
		t.CloseIdleConnections() // they lead to a server that is gone
	}
}

// suspect takes the instance out because a request failed on it, before the next one is granted, and has it looked
// at now: one that lives is back within milliseconds.
func (in *instance) suspect(err error) {
	in.setDown(err)
	in.lookNow()
}

func (in *instance) lookNow() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// jitter moves a duration by up to a fifth either way.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// statusError is an answer that is not 200.
type statusError struct {
	what    string
	status  int
	message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.what, e.status, e.message)
}
