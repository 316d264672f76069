package ollamatest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// Process says how to start a real `ollama serve`.
type Process struct {
	Binary string    // its path, see scripts/ollama.sh
	Addr   string    // host:port to listen on; "" or port 0: a free port of 127.0.0.1
	Models string    // its own model folder, default a temporary one
	Home   string    // its HOME, never the user's; default a temporary one
	Env    []string  // KEY=value, over everything else
	Log    io.Writer // gets its output; nil: none
}

// Ollama is a running child process.
type Ollama struct {
	URL string // http://host:port

	cmd    *exec.Cmd
	exited chan struct{}
	dirs   []string // temporary ones, removed by Close
}

// StartOllama starts a real Ollama and waits until it answers GET /api/version, or ctx ends; a start takes 0.1 s to
// 30 s. Close it: ctx does not.
func StartOllama(ctx context.Context, p Process) (*Ollama, error) {
	addr, err := freeAddr(p.Addr)
	if err != nil {
		return nil, fmt.Errorf("start ollama: %w", err)
	}
	o := &Ollama{URL: "http://" + addr, exited: make(chan struct{})}
	for _, dir := range []*string{&p.Models, &p.Home} {
		if *dir != "" {
			continue
		}
		if *dir, err = os.MkdirTemp("", "ollamatest-"); err != nil {
			o.removeDirs()
			return nil, fmt.Errorf("start ollama: %w", err)
		}
		o.dirs = append(o.dirs, *dir)
	}
	o.cmd = exec.Command(p.Binary, "serve")
	o.cmd.Env = append(os.Environ(),
		"HOME="+p.Home, "USERPROFILE="+p.Home, "OLLAMA_MODELS="+p.Models, "OLLAMA_HOST="+addr, "OLLAMA_NO_CLOUD=1")
	o.cmd.Env = append(o.cmd.Env, p.Env...)
	o.cmd.Stdout, o.cmd.Stderr = p.Log, p.Log
	o.cmd.WaitDelay = time.Second // an orphan that holds the pipe must not hold us
	ownGroup(o.cmd)
	if err := o.cmd.Start(); err != nil {
		o.removeDirs()
		return nil, fmt.Errorf("start ollama: %w", err)
	}
	go func() {
		_ = o.cmd.Wait() // it is killed in the end
		close(o.exited)
	}()
	if err := o.waitReady(ctx); err != nil {
		o.Close()
		return nil, fmt.Errorf("start ollama on %s: %w", addr, err)
	}
	return o, nil
}

// freeAddr finds a port where none is given.
func freeAddr(addr string) (string, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port != "0" {
		return addr, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (o *Ollama) waitReady(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+"/api/version", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-o.exited:
			return fmt.Errorf("it ended: %v", o.cmd.ProcessState)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// PID is the process's id, which on Unix is its group's too.
func (o *Ollama) PID() int { return o.cmd.Process.Pid }

// Close kills the process with its engines and removes its temporary folders.
func (o *Ollama) Close() error {
	err := killGroup(o.cmd)
	<-o.exited
	o.removeDirs()
	return err
}

func (o *Ollama) removeDirs() {
	for _, dir := range o.dirs {
		os.RemoveAll(dir)
	}
}

// CreateModel uploads a GGUF file to an Ollama and makes a model of it; params are PARAMETER values, such as
// num_ctx.
func CreateModel(ctx context.Context, baseURL, name string, gguf []byte, params map[string]any) error {
	sum := sha256.Sum256(gguf)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if err := send(ctx, baseURL+"/api/blobs/"+digest, gguf); err != nil {
		return fmt.Errorf("create model %s: upload: %w", name, err)
	}
	body, err := json.Marshal(object{
		"model": name, "files": map[string]string{name + ".gguf": digest}, "parameters": params, "stream": false,
	})
	if err != nil {
		return fmt.Errorf("create model %s: %w", name, err)
	}
	if err := send(ctx, baseURL+"/api/create", body); err != nil {
		return fmt.Errorf("create model %s: %w", name, err)
	}
	return nil
}

func send(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return nil
}
