//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// corral is a running `corral serve`.
type corral struct {
	URL, addr string
	dir       string // its working folder, with corral.yaml
	out       *os.File
	cmd       *exec.Cmd
	exited    chan struct{}
}

// configOf is a corral.yaml with instances in that order.
func configOf(instances ...*ollama) string {
	var b strings.Builder
	b.WriteString("instances:\n")
	for _, o := range instances {
		fmt.Fprintf(&b, "  - {name: %s, url: %s, slots: %d}\n", o.name, o.URL, slots)
	}
	return b.String()
}

// startCorral starts `corral serve` in a folder of its own, with that corral.yaml unless it is empty, and waits for
// /healthz. env are KEY=value. Its output goes to the file "output" there.
func startCorral(ctx context.Context, dir, config string, env []string, args ...string) (*corral, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	args = append([]string{"serve", "--listen", addr}, args...)
	if config != "" {
		path := filepath.Join(dir, "corral.yaml")
		if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--config", path)
	}
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	c := &corral{URL: "http://" + addr, addr: addr, dir: dir, out: out, cmd: command(dir, env, args...), exited: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = out, out
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	atEnd(c.kill)
	return c, c.awaitText(ctx, "/healthz", "ok")
}

// command is corral in a folder, without what the environment of these tests says about Corral and Ollama.
func command(dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(corralBin, args...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CORRAL_") && !strings.HasPrefix(e, "OLLAMA_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// newCorral starts a Corral for one test.
func newCorral(t *testing.T, config string, env []string, args ...string) *corral {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := startCorral(ctx, t.TempDir(), config, env, args...)
	if err != nil {
		if c != nil {
			t.Logf("its output:\n%s", c.output())
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("output of corral:\n%s", tail(c.out.Name()))
		}
	})
	return c
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (c *corral) kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	<-c.exited
}

func (c *corral) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait is its exit status.
func (c *corral) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.exited:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("corral did not end")
		return 0
	}
}

func (c *corral) output() string {
	text, err := os.ReadFile(c.out.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// awaitText waits until a GET answers 200 with a text in its body.
func (c *corral) awaitText(ctx context.Context, path, text string) error {
	return poll(ctx, func() error {
		select {
		case <-c.exited:
			return fatal{fmt.Errorf("corral ended: %v\n%s", c.cmd.ProcessState, c.output())}
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+path, nil)
		if err != nil {
			return fatal{err}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), text)) {
			err = fmt.Errorf("GET %s%s: %s: %s", c.URL, path, resp.Status, body)
		}
		return err
	})
}

// await waits until a GET answers 200 with a text in its body.
func (c *corral) await(t *testing.T, path, text string) {
	t.Helper()
	if err := c.awaitText(t.Context(), path, text); err != nil {
		t.Fatal(err)
	}
}

// awaitOutput waits until the output has a text.
func (c *corral) awaitOutput(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		if out := c.output(); !strings.Contains(out, text) {
			return fmt.Errorf("no %q in the output:\n%s", text, out)
		}
		return nil
	})
}

// status is what /corral/api/status says, as far as tests look at it.
type status struct {
	Instances []struct {
		Name string
		Up   bool
	}
	Queue struct {
		Waiting, Running int
		Lanes            []struct {
			Instance string
			Slots    int
			InFlight int `json:"in_flight"`
		}
	}
}

func (c *corral) status(t *testing.T) (s status) {
	t.Helper()
	a := ask(t, c.URL, http.MethodGet, "/corral/api/status", "")
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("status: %v: %s", err, a.body)
	}
	return s
}

// awaitQueue waits until so many requests wait and run.
func (c *corral) awaitQueue(t *testing.T, waiting, running int) {
	t.Helper()
	eventually(t, func() error {
		if q := c.status(t).Queue; q.Waiting != waiting || q.Running != running {
			return fmt.Errorf("%d wait and %d run, want %d and %d", q.Waiting, q.Running, waiting, running)
		}
		return nil
	})
}

// fatal is an error that waiting does not heal.
type fatal struct{ error }

// poll tries until there is no error, a fatal one, or ctx or patience ends.
func poll(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if errors.As(err, new(fatal)) || err == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	if err := poll(t.Context(), try); err != nil {
		t.Fatal(err)
	}
}

// busy takes slots of a Corral until free is called: each holder has its first token and will get no second one.
func (c *corral) busy(t *testing.T, n int) (free func()) {
	t.Helper()
	return c.busyWith(t, "m", n)
}

// busyWith is busy with a model.
func (c *corral) busyWith(t *testing.T, model string, n int) (free func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all, begun sync.WaitGroup
	begun.Add(n)
	for i := range n {
		all.Go(func() {
			begin := sync.OnceFunc(begun.Done)
			defer begin()
			body := streamed(model, fmt.Sprintf("holder %d [[tokens=9 stall=1]]", i))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/api/chat", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Errorf("holder %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			if _, err := resp.Body.Read(make([]byte, 1)); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("holder %d: %s %v", i, resp.Status, err)
			}
			begin()
			_, _ = io.Copy(io.Discard, resp.Body)
		})
	}
	begun.Wait()
	free = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(free)
	return free
}

// waiter sends a request that is not answered until leave is called, which hangs up.
func (c *corral) waiter(t *testing.T) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/api/chat", strings.NewReader(chat("m", "[[tokens=2]]")))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}()
	return func() {
		cancel()
		<-left
	}
}

// awaitUp waits until so many instances are up.
func (c *corral) awaitUp(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() error {
		up := 0
		for _, in := range c.status(t).Instances {
			if in.Up {
				up++
			}
		}
		if up != n {
			return fmt.Errorf("%d instances are up, want %d", up, n)
		}
		return nil
	})
}
