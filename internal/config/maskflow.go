package config

import "strings"

// flowFrame is an open { or [ of flow style.
type flowFrame struct {
	open    rune
	parent  kind // kind of the value that the bracket is
	value   kind // kind of the value that is being read
	inValue bool // in a { : a key and its colon were read
	done    bool // the value was read: only a comma or bracket may follow
}

// scanFlow masks a line, from i on, that is inside of brackets. Anything unusual makes it lost.
func (m *masker) scanFlow(l maskedLine, i int) {
	for len(m.flow) > 0 {
		i = skipBlank(l.text, i)
		if i >= len(l.text) {
			return
		}
		top := &m.flow[len(m.flow)-1]
		switch c := l.text[i]; c {
		case '{', '[':
			m.flow = append(m.flow, flowFrame{open: c, parent: top.value, value: top.value})
			i++
		case '}', ']':
			if (c == '}') != (top.open == '{') {
				m.lose(l, i)
				return
			}
			m.flow = m.flow[:len(m.flow)-1]
			i++
		case ',':
			top.inValue, top.done, top.value = false, false, top.parent
			i++
		case '#':
			hideComment(l, i)
			return
		default:
			if i = m.flowText(l, i, top); i < 0 {
				return
			}
		}
	}
	m.afterFlow(l, i)
}

// lose hides the rest of the line and of the file.
func (m *masker) lose(l maskedLine, i int) {
	m.lost = true
	l.cover(i, len(l.text))
}

// afterFlow masks what follows the last closing bracket: nothing or a comment belongs there.
func (m *masker) afterFlow(l maskedLine, i int) {
	if i = skipBlank(l.text, i); i >= len(l.text) {
		return
	}
	if l.text[i] == '#' {
		hideComment(l, i)
		return
	}
	m.lose(l, i)
}

// flowText masks one key or scalar that starts at i. It returns what follows, or -1 when lost.
func (m *masker) flowText(l maskedLine, i int, top *flowFrame) int {
	start := skipProperties(l.text, i, top.value)
	end, ok := flowTextEnd(l.text, start)
	next := skipBlank(l.text, end)
	follows := next >= len(l.text) || strings.ContainsRune(",:}]#", l.text[next])
	text := string(l.text[start:end])
	if !ok || !follows || end == start {
		m.lose(l, i)
		return -1
	}
	if top.open == '{' && !top.inValue {
		key := strings.Trim(text, `"'`)
		if next >= len(l.text) || l.text[next] != ':' || top.parent == kindHidden || !showableIn(top.parent, key) {
			m.lose(l, i)
			return -1
		}
		top.inValue, top.value = true, childKind(top.parent, key)
		return next + 1
	}
	if top.done || next < len(l.text) && l.text[next] == ':' {
		m.lose(l, i)
		return -1
	}
	top.done = true
	if top.value == kindContainer {
		l.cover(start, end)
	} else {
		hideLeaf(l, start, end, top.value)
	}
	return next
}

// flowTextEnd returns where the scalar at i ends, and whether that is beyond doubt.
func flowTextEnd(text []rune, i int) (int, bool) {
	if i >= len(text) {
		return i, false
	}
	if quote := text[i]; quote == '"' || quote == '\'' {
		for j := i + 1; j < len(text); j++ {
			switch {
			case quote == '"' && text[j] == '\\':
				j++
			case text[j] == quote:
				// A closing quote in a wrong place takes keys into the text.
				inside := string(text[i+1 : j])
				return j + 1, !strings.Contains(inside, ": ") && !strings.ContainsAny(inside, "{}")
			}
		}
		return len(text), false
	}
	j := i
	for ; j < len(text) && !strings.ContainsRune(",[]{}", text[j]); j++ {
		if text[j] == ':' && (j+1 == len(text) || strings.ContainsRune(" \t,[]{}", text[j+1])) {
			break
		}
		if text[j] == '#' && j > i && isBlank(text[j-1]) {
			break
		}
	}
	for j > i && isBlank(text[j-1]) {
		j--
	}
	return j, true
}
