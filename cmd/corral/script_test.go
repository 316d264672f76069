package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"corral/ollamatest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"corral": main,
		"ollama": serveOllama,
		"await":  await,
	})
}

// TestScripts runs testdata/*.txtar: corral as a user runs it. Each script has free addresses in $CORRAL and
// $OLLAMA and two commands beside corral: `ollama [-model m1] ADDR` serves the Ollama of ollamatest, `await URL` waits until
// a URL answers 200.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"CORRAL", "OLLAMA", "OTHER"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv(name, l.Addr().String())
				_ = l.Close()
			}
			return nil
		},
	})
}

func serveOllama() {
	name := flag.String("model", "m1", "name of its language model")
	flag.Parse()
	s := ollamatest.New(ollamatest.Options{
		Models: []ollamatest.Model{{Name: *name}, {Name: "emb", Capabilities: []string{"embedding"}}},
	})
	server := &http.Server{Addr: flag.Arg(0), Handler: s, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

// await asks a URL until it answers 200, and prints the answer's status line if it never does.
func await() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Args[1], nil)
		if err != nil {
			break
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				cancel()
				return
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	cancel()
	fmt.Fprintln(os.Stderr, os.Args[1], "did not answer")
	os.Exit(1)
}
