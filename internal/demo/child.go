package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// child is a Corral that runs beside the demo, as a user would start it.
type child struct {
	url    string
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

const (
	readyPatience = 20 * time.Second
	stopPatience  = 3 * time.Second
)

// startCorral starts `corral serve` with a configuration and waits until it reaches every instance.
func startCorral(ctx context.Context, yaml, dir string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the corral program: %w", err)
	}
	config := filepath.Join(dir, "corral.yaml")
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	c := &child{url: "http://" + addr, log: filepath.Join(dir, "corral.log"), exited: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("write Corral's log: %w", err)
	}
	defer log.Close() // the child has its own handle
	c.cmd = exec.Command(exe, "serve", "--config", config, "--listen", addr, "--drain", "1s")
	c.cmd.Env = corralEnv(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Corral: %w", err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	if err := c.waitReady(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("start Corral on %s: %w\nthe end of its log:\n%s", addr, err, c.tail())
	}
	return c, nil
}

// corralEnv is an environment without the user's own settings of Corral, which must not decide here.
func corralEnv(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "CORRAL_") && !strings.HasPrefix(e, "OLLAMA_HOST=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (c *child) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, fmt.Errorf("not ready after %s", readyPatience))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.allUp(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.exited:
			return errors.New("it ended at once; if its port was taken meanwhile, run the demo again")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// allUp asks Corral whether it reaches every instance.
func (c *child) allUp(ctx context.Context) bool {
	var status struct {
		Instances []struct{ Up bool }
	}
	if getJSON(ctx, c.url+"/corral/api/status", &status) != nil {
		return false
	}
	for _, in := range status.Instances {
		if !in.Up {
			return false
		}
	}
	return len(status.Instances) > 0
}

// close lets Corral end, or ends it.
func (c *child) close() {
	if c.cmd.Process.Signal(os.Interrupt) == nil {
		timer := time.NewTimer(stopPatience)
		defer timer.Stop()
		select {
		case <-c.exited:
			return
		case <-timer.C:
		}
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// tail is the end of Corral's log.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-12):], []byte("\n")))
}

// getJSON decodes the answer to a GET.
func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
