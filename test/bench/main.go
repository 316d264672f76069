// Command bench measures Corral against its budgets, beside the standard library's ReverseProxy in the same
// run: CPU per request, CPU per streamed chunk, latency at a fixed rate. Every server is a process of its own,
// so that its CPU time can be read. Linux only.
//
//	go run ./test/bench [-rounds 3]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	serve := flag.String("serve", "", "internal: run as `backend` or `stdlib`")
	addr := flag.String("addr", "", "internal: address to listen on")
	to := flag.String("to", "", "internal: URL of the backend")
	rounds := flag.Int("rounds", 3, "how often everything is measured; medians are shown")
	flag.Parse()
	var err error
	switch *serve {
	case "backend":
		err = serveBackend(*addr)
	case "stdlib":
		err = serveStdlib(*addr, *to)
	default:
		err = run(*rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// subject is what is measured.
type subject struct {
	name string
	url  string
	pid  int
	got  map[string][]float64 // by row
}

func run(rounds int) error {
	ctx := context.Background()
	if _, err := cpuTime(os.Getpid()); err != nil {
		return fmt.Errorf("CPU time of processes can not be read here: %w", err)
	}
	var servers processes
	defer servers.stop()
	subjects, err := start(ctx, &servers)
	if err != nil {
		return err
	}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		for _, m := range measures {
			for _, s := range subjects {
				if err := m.run(ctx, s); err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, m.name, err)
				}
			}
		}
	}
	print(subjects)
	return nil
}

// start brings up the backend and the two subjects in front of it.
func start(ctx context.Context, servers *processes) ([]*subject, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "corral-bench")
	if err != nil {
		return nil, err
	}
	servers.dir = dir
	corral := filepath.Join(dir, "corral")
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", corral, "./cmd/corral").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build corral: %w\n%s", err, out)
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	backend, stdlib, front := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1], "127.0.0.1:"+ports[2]
	config := filepath.Join(dir, "corral.yaml")
	text := fmt.Sprintf("instances:\n  - {name: a, url: http://%s, slots: 1024}\n", backend)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if _, err := servers.start(ctx, backend, self, "-serve", "backend", "-addr", backend); err != nil {
		return nil, err
	}
	stdlibPID, err := servers.start(ctx, stdlib, self, "-serve", "stdlib", "-addr", stdlib, "-to", "http://"+backend)
	if err != nil {
		return nil, err
	}
	corralPID, err := servers.start(ctx, front, corral, "serve", "--config", config, "--listen", front, "--log", "json")
	if err != nil {
		return nil, err
	}
	return []*subject{
		{name: "ReverseProxy", url: "http://" + stdlib, pid: stdlibPID, got: map[string][]float64{}},
		{name: "Corral", url: "http://" + front, pid: corralPID, got: map[string][]float64{}},
	}, nil
}

// processes are the servers of a run and the folder they need.
type processes struct {
	dir     string
	running []*exec.Cmd
}

// start starts a server and waits until it answers.
func (p *processes) start(ctx context.Context, addr, name string, args ...string) (pid int, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	p.running = append(p.running, cmd)
	for range 100 {
		if answers(ctx, addr) {
			return cmd.Process.Pid, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, errors.New(name + " " + strings.Join(args, " ") + " does not answer")
}

func (p *processes) stop() {
	for _, cmd := range p.running {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	_ = os.RemoveAll(p.dir)
}

// print shows the medians beside the budgets.
func print(subjects []*subject) {
	base, ours := subjects[0], subjects[1]
	fmt.Printf("\n%-46s %14s %14s %8s %8s\n", "", base.name, ours.name, "ratio", "budget")
	ok := true
	for _, row := range rows {
		b, o := median(base.got[row]), median(ours.got[row])
		ratio := o / b
		mark := ""
		if ratio > 1 {
			mark, ok = "  over", false
		}
		fmt.Printf("%-46s %11.1f µs %11.1f µs %8.2f %8s%s\n", row, b, o, ratio, "<= 1.00", mark)
	}
	if !ok {
		fmt.Println("\nA budget is over in this run.")
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
