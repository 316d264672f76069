// Package demo shows Corral's main job on one machine: a burst of calls as an indexing run of GraphRAG fires
// them, first straight at Ollama, then through Corral.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Options of a demo. Either Ollama or URL is set.
type Options struct {
	Ollama string // path of an ollama binary whose engine is ollamatest/llama-server; the demo starts servers of it

	URL        string        // the user's own Ollama; nothing is started or stopped there
	Model      string        // with URL: what answers chats
	EmbedModel string        // with URL: what embeds; "" for none
	Timeout    time.Duration // with URL: the clients' idle timeout, default 180 s
	Slots      int           // with URL: what that Ollama runs at once, default 1

	Calls int       // default 1500, with URL 200
	Keep  bool      // stay up afterwards, until ctx ends
	Out   io.Writer // what a person should read
}

const (
	defaultCalls    = 1500
	defaultOwnCalls = 200
	maxCalls        = 10000 // more would need more than the ports and files of one machine
)

// errStopped is what a demo returns that was stopped before its end.
var errStopped = errors.New("demo: stopped before its end; what it started is stopped and removed")

func (o *Options) fill() error {
	switch {
	case o.Ollama == "" && o.URL == "":
		return errors.New("demo: no Ollama to show it on: run `make demo`, which builds one with a simulated engine,\n" +
			"or name your own: corral demo --url http://127.0.0.1:11434 --model llama3.1:8b")
	case o.Ollama != "" && o.URL != "":
		return errors.New("demo: --ollama starts servers of its own and --url uses yours: give one of them")
	case o.URL == "" && (o.Model != "" || o.EmbedModel != "" || o.Slots != 0 || o.Timeout != 0):
		return errors.New("demo: --model, --embed-model, --slots and --timeout belong to --url: leave them out, or give --url instead of --ollama")
	case o.Calls < 0 || o.Calls > maxCalls:
		return fmt.Errorf("demo: --calls %d: choose 1 to %d", o.Calls, maxCalls)
	case o.Timeout < 0 || o.Slots < 0:
		return errors.New("demo: --timeout and --slots must be above zero")
	}
	if o.Calls == 0 {
		o.Calls = defaultCalls
		if o.URL != "" {
			o.Calls = defaultOwnCalls
		}
	}
	if o.Timeout == 0 {
		o.Timeout = sdkTimeout
	}
	if o.Slots == 0 {
		o.Slots = 1
	}
	return nil
}

// stage is what a burst is fired at, however it came to be.
type stage struct {
	generate []string // base URLs of the servers for language
	embed    string   // base URL of the server for embeddings
	yaml     string   // the same servers as Corral's configuration names them
	load     load
	client   clientOptions
	engines  *engines // nil: their work cannot be counted
	close    func()
}

// Run shows the demo. It returns an error if it could not be shown, or if calls through Corral were not answered.
// What it started is stopped and removed when it returns.
func Run(ctx context.Context, o Options) error {
	if err := o.fill(); err != nil {
		return err
	}
	// A terminal that closes or a pipe whose reader has gone must not leave servers behind either.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx, o)
	if _, shown := errors.AsType[*unanswered](err); err != nil && !shown && ctx.Err() != nil {
		return errStopped
	}
	return err
}

// unanswered is a demo that shows Corral failing.
type unanswered struct {
	through result
	log     string // the end of Corral's
}

func (u *unanswered) Error() string {
	return fmt.Sprintf("demo: %s of %s calls through Corral were not answered, such as: %s\nthe end of Corral's log:\n%s",
		number(u.through.calls-u.through.answered), number(u.through.calls), u.through.example, u.log)
}

func run(ctx context.Context, o Options) error {
	dir, err := os.MkdirTemp("", "corral-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer shielded(func() { os.RemoveAll(dir) })
	var st *stage
	if o.URL != "" {
		st, err = ownStage(ctx, o)
	} else {
		st, err = simulatedStage(ctx, o, dir)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer shielded(st.close)
	return show(ctx, o, st, dir)
}

// shielded runs a clean-up that a second Ctrl-C must not cut short: it would leave servers behind.
func shielded(f func()) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(ignored)
	f()
}

// show fires the burst twice and prints what came of it.
func show(ctx context.Context, o Options, st *stage, dir string) error {
	calls := st.load.calls()
	b := burst{calls: calls, stage: st, screen: newScreen(o.Out)}
	fmt.Fprintf(o.Out, "%s\n\n", st.load.describe(calls, st.client.timeout))

	direct, err := b.fire(ctx, "Ollama alone", st.direct)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	corral, err := startCorral(ctx, st.yaml, dir)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer shielded(corral.close)
	through, err := b.fire(ctx, "through Corral", func(*call) string { return corral.url })
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	report{direct, through, st.ideal(calls)}.write(o.Out)
	if through.answered < through.calls {
		err = &unanswered{through, corral.tail()}
	}
	if o.Keep {
		keep(ctx, o.Out, st, corral.url)
	}
	return err
}

// direct splits calls by hand, the best that can be done without a common queue.
func (st *stage) direct(c *call) string {
	if c.embeds {
		return st.embed
	}
	return st.generate[c.nth%len(st.generate)]
}

// keep leaves everything up until ctx ends.
func keep(ctx context.Context, out io.Writer, st *stage, url string) {
	fmt.Fprintf(out, "\nStill up, until Ctrl-C:\n  Corral     %s   (OpenAI SDKs: %s/v1)\n", url, url)
	for _, u := range st.generate {
		fmt.Fprintf(out, "  Ollama     %s\n", u)
	}
	if st.embed != "" && st.embed != st.generate[0] {
		fmt.Fprintf(out, "  embedding  %s\n", st.embed)
	}
	fmt.Fprintf(out, "Try:\n  curl %s/api/chat -d '{\"model\":%q,\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'\n", url, st.load.model)
	fmt.Fprintf(out, "  curl %s/corral/api/status\n  curl %s/metrics\n", url, url)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
}
