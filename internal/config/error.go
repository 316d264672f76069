package config

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is a setting that can not be used. It shows no secret.
type Error struct {
	File         string // the file, or "" when the setting came from elsewhere
	Line, Column int    // 1-based place in File, the column in characters; 0 = the file as a whole
	Source       string // outside a file: the variable or flag, such as "CORRAL_LISTEN"
	Message      string // what is wrong
	Excerpt      string // the lines around the place with a caret below it; "" = none
	Remedy       string // what to do, one line
}

// Error gives the place and message on the first line, then the excerpt, then the remedy.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		b.WriteString(e.File + ": ")
	case e.Source != "":
		b.WriteString(e.Source + ": ")
	}
	b.WriteString(e.Message)
	for _, part := range []string{e.Excerpt, e.Remedy} {
		if part != "" {
			b.WriteString("\n" + part)
		}
	}
	return b.String()
}

// document is a file's text, kept to draw excerpts from.
type document struct {
	name string
	src  string
}

// place says where a setting was written: in a document, or in a variable or flag.
type place struct {
	doc       *document
	line, col int
	source    string // variable or flag, when doc is nil
	label     string // the setting within its source, such as "instances[0].url"
}

// fail makes the error for a setting at p.
func (p place) fail(remedy, format string, args ...any) *Error {
	e := &Error{Source: p.source, Message: fmt.Sprintf(format, args...), Remedy: remedy}
	if p.label != "" {
		e.Message = p.label + ": " + e.Message
	}
	if p.doc != nil {
		e.File, e.Line, e.Column = p.doc.name, p.line, p.col
		e.Excerpt = p.doc.excerpt(p.line, p.col)
	}
	return e
}

// named returns p with a label.
func (p place) named(format string, args ...any) place {
	p.label = fmt.Sprintf(format, args...)
	return p
}

const (
	linesBefore, linesAfter = 3, 2
	maxLine                 = 120 // characters of a source line that are drawn
)

// excerpt draws the lines around a place in the form goccy/go-yaml gives them, secrets hidden.
func (d *document) excerpt(line, col int) string {
	// A final newline ends the last line, it does not begin another one.
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(d.src, "\r\n", "\n"), "\n"), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	masked := hideSecrets(lines)
	first, last := max(1, line-linesBefore), min(len(lines), line+linesAfter)
	var b strings.Builder
	for n := first; n <= last; n++ {
		mark, text, caret := ' ', masked[n-1].String(), 0
		if n == line {
			mark, caret = '>', masked[n-1].column(col)
		}
		text, caret = clip(text, caret)
		gutter := fmt.Sprintf("%c%3d | ", mark, n)
		b.WriteString(strings.TrimRight(gutter+text, " ") + "\n")
		if n == line {
			b.WriteString(strings.Repeat(" ", len(gutter)+max(0, caret-1)) + "^\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// clip cuts a line so that the caret stays in view, and replaces what a terminal would act upon.
func clip(text string, caret int) (string, int) {
	runes := []rune(text)
	for i, r := range runes {
		if r == '\t' {
			runes[i] = ' '
		} else if !unicode.IsPrint(r) {
			runes[i] = '\uFFFD'
		}
	}
	if len(runes) > maxLine && caret > maxLine*3/4 {
		cut := min(caret, len(runes)) - maxLine/2
		runes = append([]rune{'…'}, runes[cut:]...)
		caret = caret - cut + 1
	}
	if len(runes) > maxLine {
		runes = append(runes[:maxLine:maxLine], '…')
	}
	return string(runes), caret
}

// quoted writes a value into a message. It stops where a missing quote may have taken other settings
// into the value, and a user and password are no part of it.
func quoted(text string) string {
	if strings.Contains(text, "@") {
		return "the value"
	}
	end := len(text)
	for _, stop := range []string{"\n", ": ", "{", "?"} {
		if i := strings.Index(text, stop); i >= 0 {
			end = min(end, i)
		}
	}
	short := []rune(text[:end])
	if len(short) > 60 {
		short = short[:60]
	}
	if len(string(short)) < len(text) {
		short = append(short, '…')
	}
	return fmt.Sprintf("%q", string(short))
}
