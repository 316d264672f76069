package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// report compares two bursts.
type report struct {
	direct, through result
	ideal           ideal
}

func (r report) write(out io.Writer) {
	fmt.Fprintln(out)
	rows := r.rows()
	var width [3]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range rows {
		fmt.Fprintf(out, "  %-*s   %*s   %*s\n", width[0], row[0], width[1], row[1], width[2], row[2])
		if i == 0 {
			fmt.Fprintf(out, "  %s   %s   %s\n", dashes(width[0]), dashes(width[1]), dashes(width[2]))
		}
	}
	fmt.Fprintln(out)
	if r.ideal.known {
		fmt.Fprintln(out, r.ideal)
	}
	fmt.Fprintln(out, r.conclusion())
}

func dashes(n int) string { return strings.Repeat("-", n) }

func (r report) rows() [][3]string {
	rows := [][3]string{{"", r.direct.name, r.through.name}}
	add := func(label string, cell func(result) string) {
		rows = append(rows, [3]string{label, cell(r.direct), cell(r.through)})
	}
	add("answered", func(s result) string { return number(s.answered) + " of " + number(s.calls) })
	for k, name := range kindNames {
		add("failed: "+name, func(s result) string { return number(s.failed[k]) })
	}
	add("time", func(s result) string { return seconds(s.elapsed) })
	add("time to an answer, p50 / p99", func(s result) string {
		if len(s.times) == 0 {
			return "-"
		}
		return seconds(quantile(s.times, 0.5)) + " / " + seconds(quantile(s.times, 0.99))
	})
	add("requests sent", func(s result) string { return number(s.requests) })
	if r.direct.counted && r.through.counted {
		add("generations cut off", func(s result) string { return number(s.work.cutOff) })
		add("tokens for nobody", func(s result) string {
			return fmt.Sprintf("%s (%d %%)", number(s.wasted), percent(s.wasted, s.work.tokens))
		})
	}
	return rows
}

// String tells how the ideal is reckoned.
func (i ideal) String() string {
	s := fmt.Sprintf("Ideal: %s = %s of work / %d slots + the longest call, %s.",
		seconds(i.generate), seconds(i.work), i.slots, seconds(i.longest))
	if i.embed > 0 {
		s += fmt.Sprintf(" Embeddings need %s on their one slot.", seconds(i.embed))
	}
	return s
}

// conclusion says in a sentence what the numbers show, and no more.
func (r report) conclusion() string {
	d, t := r.direct, r.through
	switch {
	case t.answered < t.calls && t.answered <= d.answered:
		return fmt.Sprintf("Corral did not help here: %s of %s calls were answered through it, %s without it.",
			number(t.answered), number(t.calls), number(d.answered))
	case t.answered < t.calls:
		return fmt.Sprintf("Through Corral %s of %s calls were answered, %s without it: better, but not all.",
			number(t.answered), number(t.calls), number(d.answered))
	case d.answered == d.calls:
		return fmt.Sprintf("Both ways all %s calls were answered, through Corral in %s instead of %s: this load did not overrun Ollama.",
			number(t.calls), seconds(t.elapsed), seconds(d.elapsed))
	}
	s := fmt.Sprintf("Through Corral all %s calls were answered in %s", number(t.calls), seconds(t.elapsed))
	if r.ideal.known {
		s += fmt.Sprintf(" (%.2f x the ideal)", t.elapsed.Seconds()/r.ideal.total().Seconds())
	}
	return s + fmt.Sprintf("; with Ollama alone %s of them (%d %%) were lost.", number(d.calls-d.answered), percent(d.calls-d.answered, d.calls))
}

func percent(part, whole int) int {
	if whole == 0 {
		return 0
	}
	return (100*part + whole/2) / whole
}
