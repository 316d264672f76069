// Package server is the running Corral: it wires the rooms together, listens, reloads and drains.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"corral/internal/call"
	"corral/internal/config"
	"corral/internal/fleet"
	"corral/internal/gateway"
	"corral/internal/manage"
	"corral/internal/observe"
)

// Options are what a Corral is started with.
type Options struct {
	Load    func() (*config.Config, error) // reads the configuration, again at every reload
	Path    string                         // file to watch for changes; "" for none
	Files   []string                       // more files to watch
	Reload  <-chan struct{}                // asks for a reload as well; may be nil
	Drain   time.Duration                  // how long running requests may take to end
	Version string
	Out     io.Writer // what a person should read
	Log     *slog.Logger
}

// firstLook is how long the start waits to say what was found. Instances that are slower are waited for later.
const firstLook = 2 * time.Second

// headerTimeout bounds how long a client may take to send its headers.
const headerTimeout = 30 * time.Second

// server is what one run of Corral owns.
type server struct {
	Options
	config   atomic.Pointer[config.Config]
	fleet    *fleet.Fleet
	observer *observe.Observer
	http     *http.Server
	cert     certificate
}

// Run serves until ctx ends, then drains. It returns an error if it could not start, or could not drain.
func Run(ctx context.Context, o Options) error {
	changed := watch(ctx, o) // before it is read, so that no change is missed
	c, err := o.Load()
	if err != nil {
		return err
	}
	listener, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	s := newServer(o, c)
	defer s.fleet.Close()
	served := make(chan error, 1)
	go func() { served <- s.serve(listener) }()
	defer s.http.Close()

	if err := s.fleet.Apply(c.Instances); err != nil {
		return err
	}
	if err := s.meet(ctx); err != nil {
		return err
	}
	s.welcome(listener.Addr())
	go s.follow(ctx, changed)
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
		return s.drain()
	}
}

func newServer(o Options, c *config.Config) *server {
	s := &server{Options: o, fleet: fleet.New(fleet.Options{Log: o.Log, MaxWaiting: c.Queue.MaxWaiting})}
	s.config.Store(c)
	queue := s.fleet.Dispatcher()
	s.observer = observe.New(o.Log, observe.State{Queue: queue.Snapshot, Instances: s.fleet.Views})
	s.http = newHTTP(&gateway.Gateway{
		Fleet:   s.fleet,
		Desk:    &call.Desk{Queue: queue, Fleet: s.fleet, Observer: s.observer, Log: o.Log},
		Models:  &manage.Desk{Fleet: s.fleet, Log: o.Log},
		Metrics: s.observer.Handler(),
		Log:     o.Log,
		Version: o.Version,
		Config:  &s.config,
	}, o.Log)
	return s
}

// serve answers requests on a listener until the server is closed.
func (s *server) serve(l net.Listener) error {
	tls := s.config.Load().TLS
	if !tls.On() {
		return s.http.Serve(l)
	}
	if err := s.cert.set(tls, s.Log); err != nil {
		return err
	}
	s.http.TLSConfig = s.cert.config()
	return s.http.ServeTLS(l, "", "")
}

// listen takes the port, or says who may have it.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port in use: %s is taken, perhaps by another Corral: stop it, or choose another port with --listen", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// meet waits a moment for the instances to show what they are, and refuses to start in a circle of Corrals.
func (s *server) meet(ctx context.Context) error {
	s.fleet.Meet(ctx, firstLook)
	for _, v := range s.fleet.Views() {
		if v.Looping {
			return fmt.Errorf("instance %s (%s) is a Corral, perhaps this one: requests would go round in a circle.\n%s",
				v.Name, v.URL, s.loopRemedy())
		}
	}
	return nil
}

func (s *server) loopRemedy() string {
	if s.config.Load().Discovered {
		return "OLLAMA_HOST names it: unset OLLAMA_HOST for `corral serve`, or name Ollama itself with CORRAL_INSTANCES=http://127.0.0.1:11434"
	}
	return "Name Ollama's own address in `instances` instead"
}

// watch tells of changes of the configuration file until ctx ends.
func watch(ctx context.Context, o Options) <-chan struct{} {
	changed := make(chan struct{}, 1)
	if o.Path == "" && len(o.Files) == 0 {
		return changed
	}
	watcher, err := config.NewWatcher(o.Path, o.Files...)
	if err != nil {
		o.Log.Warn("the configuration is not watched: send SIGHUP after a change", "file", o.Path, "error", err)
		return changed
	}
	go func() {
		_ = watcher.Run(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	return changed
}

// follow applies changes of the configuration until ctx ends.
func (s *server) follow(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.Reload:
		}
		s.reload()
	}
}

// reload puts a new configuration in force, or keeps the old one and says why.
func (s *server) reload() {
	next, err := s.Load()
	if err == nil && next.Discovered && !s.config.Load().Discovered {
		err = errors.New("it names no instances any more")
	}
	if err == nil {
		err = s.fleet.Apply(next.Instances)
	}
	if err == nil && next.TLS.On() && s.config.Load().TLS.On() {
		err = s.cert.set(next.TLS, s.Log)
	}
	s.observer.Reloaded(err == nil)
	if err != nil {
		s.Log.Error("configuration refused: the old one stays in force", "error", err)
		fmt.Fprintln(s.Out, err) // with its line and caret, as a person reads it
		return
	}
	changes := config.Changes(s.config.Load(), next)
	s.config.Store(next)
	s.fleet.Dispatcher().SetMaxWaiting(next.Queue.MaxWaiting)
	if len(changes) == 0 {
		s.Log.Info("configuration read again: nothing changed")
	}
	for _, change := range changes {
		s.Log.Info("configuration changed", "change", change)
	}
}

// drain lets running requests end, takes no new ones, and cuts what is left after the time allowed.
func (s *server) drain() error {
	queue := s.fleet.Dispatcher().Snapshot()
	s.Log.Info("draining: requests that run or wait are answered, no new ones are taken; a second signal ends at once",
		"running", queue.Running, "waiting", queue.Waiting, "limit", s.Drain.String())
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		snapshot := s.fleet.Dispatcher().Snapshot()
		return fmt.Errorf("drain: %d running and %d waiting requests were cut after %s: allow more with --drain", snapshot.Running, snapshot.Waiting, s.Drain)
	}
	s.Log.Info("stopped")
	return nil
}
