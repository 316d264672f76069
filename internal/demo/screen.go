package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen shows how a burst goes: one line that changes on a terminal, else a line every few seconds.
type screen struct {
	out      io.Writer
	terminal bool
}

func newScreen(out io.Writer) screen {
	f, isFile := out.(*os.File)
	return screen{out, isFile && term.IsTerminal(int(f.Fd()))}
}

const (
	barWidth     = 12 // the line then fits a terminal of 80 columns
	terminalStep = 100 * time.Millisecond
	plainStep    = 3 * time.Second
)

// follow shows a burst until stop is called, which leaves its last state on a line of its own.
func (s screen) follow(name string, t *tally) (stop func()) {
	step := plainStep
	if s.terminal {
		step = terminalStep
	}
	done, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.show(name, t, time.Since(start), false)
			case <-done:
				s.show(name, t, time.Since(start), true)
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (s screen) show(name string, t *tally, elapsed time.Duration, last bool) {
	answered, failed, waiting := t.counts()
	line := progressLine(name, answered, failed, waiting, elapsed)
	switch {
	case !s.terminal:
		fmt.Fprintln(s.out, line)
	case last:
		fmt.Fprintf(s.out, "\r%s\x1b[K\n", line)
	default:
		fmt.Fprintf(s.out, "\r%s\x1b[K", line)
	}
}

func progressLine(name string, answered, failed, waiting int, elapsed time.Duration) string {
	all := max(answered+failed+waiting, 1)
	good, bad := answered*barWidth/all, failed*barWidth/all
	bar := strings.Repeat("#", good) + strings.Repeat("x", bad) + strings.Repeat(".", barWidth-good-bad)
	return fmt.Sprintf("%-14s [%s] %5s answered %5s failed %5s waiting %7s",
		name, bar, number(answered), number(failed), number(waiting), seconds(elapsed))
}

// number is 1500 as "1,500".
func number(n int) string {
	if n < 0 {
		return "-" + number(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", number(n/1000), n%1000)
}

// seconds is a time with as many digits as one reads.
func seconds(d time.Duration) string {
	s := d.Seconds()
	switch {
	case s >= 100 || s == float64(int(s)):
		return fmt.Sprintf("%.0f s", s)
	case s >= 1:
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.2f s", s)
}
