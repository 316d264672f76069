// Command bench measures Corral against its budgets, beside the standard library's ReverseProxy in the same
// run: CPU per request, CPU per streamed chunk, latency at a fixed rate. Every server is a process of its own,
// so that its CPU time can be read. Linux only.
//
//	go run ./test/bench [-rounds 12]
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
	rounds := flag.Int("rounds", 12, "how often everything is measured; medians are shown")
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
		fmt.Fprintf(os.Stderr, "\rround %d of %d", round+1, rounds)
		for _, m := range measures {
			slices.Reverse(subjects) // neither is always first
			for _, s := range subjects {
				if err := again(func() error { return m.run(ctx, s) }); err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, m.name, err)
				}
			}
		}
	}
	if subjects[0].name != baseline {
		slices.Reverse(subjects)
	}
	report(subjects[0], subjects[1])
	return nil
}

// again runs a measurement once more if it failed: under this load a connection of the baseline breaks now and
// then. What fails twice is an error.
func again(measure func() error) error {
	if err := measure(); err == nil {
		return nil
	}
	return measure()
}

// baseline is the subject that the other is held against.
const baseline = "ReverseProxy"

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
		{name: baseline, url: "http://" + stdlib, pid: stdlibPID, got: map[string][]float64{}},
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
	if args[0] != "serve" { // Corral's log is not for the reader of the table
		cmd.Stderr = os.Stderr
	}
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

// report shows the medians, and the median of the ratios of each round, beside the budgets.
func report(base, ours *subject) {
	fmt.Printf("\n\n%-42s %14s %14s %14s %8s\n", "", base.name, ours.name, "ratio", "budget")
	for _, row := range rows {
		ratios := make([]float64, len(base.got[row]))
		for i := range ratios {
			ratios[i] = ours.got[row][i] / base.got[row][i]
		}
		b, o, ratio := median(base.got[row]), median(ours.got[row]), median(ratios)
		mark := ""
		if ratio > 1 {
			mark = "  over"
		}
		fmt.Printf("%-42s %11.1f µs %11.1f µs %5.2f ±%5.2f %8s%s\n", row, b, o, ratio, spread(ratios), "<= 1.00", mark)
	}
	fmt.Println("\nMedians of all rounds; ± is half of the middle half of the ratios.")
}

func median(values []float64) float64 { return quantile(values, 0.5) }

func spread(values []float64) float64 { return (quantile(values, 0.75) - quantile(values, 0.25)) / 2 }

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}
