package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func ms(list ...int) []time.Duration {
	var times []time.Duration
	for _, n := range list {
		times = append(times, time.Duration(n)*time.Millisecond)
	}
	return times
}

func TestReport(t *testing.T) {
	direct := result{name: "Ollama alone", calls: 1500, answered: 549, elapsed: 10200 * time.Millisecond, requests: 3954,
		times: ms(90, 5500, 10100), counted: true, work: work{tokens: 80000, cutOff: 134}, wasted: 9839}
	direct.failed[timedOut] = 951
	through := result{name: "through Corral", calls: 1500, answered: 1500, elapsed: 20 * time.Second, requests: 1500,
		times: ms(100, 9600, 20300), counted: true, work: work{tokens: 200000}}
	i := ideal{known: true, slots: 8, work: 152 * time.Second, longest: 180 * time.Millisecond,
		generate: 19180 * time.Millisecond, embed: 9300 * time.Millisecond}
	var out bytes.Buffer
	report{direct, through, i}.write(&out)
	want := `
                                   Ollama alone   through Corral
  ----------------------------   --------------   --------------
  answered                         549 of 1,500   1,500 of 1,500
  failed: timeout                           951                0
  failed: 503                                 0                0
  failed: connection                          0                0
  failed: other                               0                0
  time                                   10.2 s             20 s
  time to an answer, p50 / p99   5.5 s / 10.1 s   9.6 s / 20.3 s
  requests sent                           3,954            1,500
  generations cut off                       134                0
  tokens for nobody                9,839 (12 %)          0 (0 %)

Ideal: 19.2 s = 152 s of work / 8 slots + the longest call, 0.18 s. Embeddings need 9.3 s on their one slot.
Through Corral all 1,500 calls were answered in 20 s (1.04 x the ideal); with Ollama alone 951 of them (63 %) were lost.
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestReportWithoutEngines(t *testing.T) {
	r := report{direct: result{calls: 2}, through: result{calls: 2, answered: 2, times: ms(1, 2)}}
	var out bytes.Buffer
	r.write(&out)
	for _, unknown := range []string{"tokens", "cut off", "Ideal", "ideal"} {
		if strings.Contains(out.String(), unknown) {
			t.Errorf("speaks of %q, which is not known:\n%s", unknown, &out)
		}
	}
}

func TestConclusionClaimsNoMoreThanThereIs(t *testing.T) {
	f := func(direct, through int, want string) {
		t.Helper()
		r := report{direct: result{calls: 10, answered: direct}, through: result{calls: 10, answered: through}}
		if got := r.conclusion(); !strings.Contains(got, want) {
			t.Errorf("%d and %d of 10: %s", direct, through, got)
		}
	}
	f(4, 10, "Through Corral all 10 calls were answered")
	f(10, 10, "Both ways")
	f(4, 9, "better, but not all")
	f(9, 9, "did not help")
	f(10, 4, "did not help")
}

func TestProgressLine(t *testing.T) {
	got := progressLine("Ollama alone", 375, 375, 750, 6100*time.Millisecond)
	want := "Ollama alone   [###xxx......]   375 answered   375 failed   750 waiting   6.1 s"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(got) > 79 {
		t.Errorf("%d columns wide", len(got))
	}
	progressLine("", 0, 0, 0, 0) // divides by nothing
}

func TestScreen(t *testing.T) {
	tl := &tally{result: result{calls: 2, answered: 1}}
	for terminal, want := range map[bool]string{true: "\r%s\x1b[K\n", false: "%s\n"} {
		var out bytes.Buffer
		s := screen{&out, terminal}
		s.show("x", tl, time.Second, true)
		if want = strings.Replace(want, "%s", progressLine("x", 1, 0, 1, time.Second), 1); out.String() != want {
			t.Errorf("got %q, want %q", &out, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1500: "1,500", 1002003: "1,002,003", -1500: "-1,500"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", 3 * time.Second: "3 s", 2500 * time.Millisecond: "2.5 s",
		180 * time.Millisecond: "0.18 s", 152700 * time.Millisecond: "153 s"} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%s) = %s", d, got)
		}
	}
}
