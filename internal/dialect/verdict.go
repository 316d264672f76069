package dialect

import (
	"bytes"
	"strconv"
)

// Verdict says why an answer that looks whole is not what was asked for. It is a word for headers and metrics.
type Verdict string

// What can be wrong with an answer of status 200.
const (
	PromptTruncated   Verdict = "prompt-truncated"
	ThinkingAteOutput Verdict = "thinking-ate-output"
	EmptyByLength     Verdict = "empty-by-length"
)

// Advice is what to do about it, in a sentence.
func (v Verdict) Advice() string {
	switch v {
	case PromptTruncated:
		return "the prompt was longer than the context, and Ollama cut it: raise num_ctx or OLLAMA_CONTEXT_LENGTH, or send less"
	case ThinkingAteOutput:
		return "the answer has thinking but no text: raise num_predict (max_tokens), or turn thinking off"
	case EmptyByLength:
		return "the answer reached its length before it had any text: raise num_predict (max_tokens), or num_ctx"
	}
	return ""
}

// Watch looks at an answer as it goes by for the numbers and marks that a Verdict needs. It does not read JSON: the
// marks below stand in an answer of Ollama's only as structure, because the quotes of what a model says are escaped.
// Chunks may be cut anywhere. Not safe for concurrent use.
type Watch struct {
	marks
	content  bool // text, or a tool call, went by
	thinking bool
	length   bool   // it ended because it may not be longer
	last     []byte // the end of what went by
	seam     []byte // scratch: the end of one piece and the beginning of the next
}

// marks are what a route's answers say things with. A mark that ends in a quote counts when its text is not empty.
type marks struct {
	said, thought []string
	cut           string
	count         string
}

const (
	carried = 64      // bytes; more than any mark is long
	kept    = 4 << 10 // bytes; the numbers are nearer to the end
)

// Watch returns a Watch for one answer on this route.
func (r Route) Watch() *Watch {
	w := &Watch{}
	switch r.kind {
	case generate:
		w.marks = marks{[]string{`"response":"`}, []string{`"thinking":"`}, `"done_reason":"length"`, `"prompt_eval_count":`}
	case chat:
		w.marks = marks{[]string{`"content":"`, `"tool_calls":[`}, []string{`"thinking":"`}, `"done_reason":"length"`, `"prompt_eval_count":`}
	case embed:
		w.marks = marks{count: `"prompt_eval_count":`}
	case openAIEmbeddings:
		w.marks = marks{count: `"prompt_tokens":`}
	case chatCompletions:
		w.marks = marks{[]string{`"content":"`, `"tool_calls":[`}, []string{`"reasoning":"`}, `"finish_reason":"length"`, `"prompt_tokens":`}
	case completions:
		w.marks = marks{[]string{`"text":"`}, nil, `"finish_reason":"length"`, `"prompt_tokens":`}
	case messages:
		w.marks = marks{[]string{`"text":"`, `"type":"tool_use",`}, []string{`"thinking":"`}, `"stop_reason":"max_tokens"`, `"input_tokens":`}
	case responses:
		// It never says that it ended by length.
		w.marks = marks{
			[]string{`"type":"output_text","text":"`, `"type":"response.output_text.delta",`, `"type":"function_call",`},
			[]string{`"type":"summary_text","text":"`}, "", `"input_tokens":`,
		}
	}
	return w
}

// Write takes the next bytes of the answer. It keeps none of p.
func (w *Watch) Write(p []byte) {
	if w.count == "" {
		return
	}
	if !w.content {
		w.seam = append(append(w.seam[:0], w.last[max(0, len(w.last)-carried):]...), p[:min(len(p), carried)]...)
		w.look(w.seam)
		w.look(p)
	}
	if len(w.last) > 2*kept {
		w.last = append(w.last[:0], w.last[len(w.last)-kept:]...)
	}
	w.last = append(w.last, p[max(0, len(p)-kept):]...)
}

// look looks for what may be anywhere, until text goes by: then none of it matters any more.
func (w *Watch) look(p []byte) {
	w.content = w.content || says(p, w.said)
	w.thinking = w.thinking || says(p, w.thought)
	w.length = w.length || w.cut != "" && bytes.Contains(p, []byte(w.cut))
}

// promptTokens is how many tokens of prompt Ollama counted, which it says at the end; 0 if it did not.
func (w *Watch) promptTokens() int {
	i := bytes.LastIndex(w.last, []byte(w.count))
	if w.count == "" || i < 0 {
		return 0
	}
	digits := w.last[i+len(w.count):]
	end := 0
	for end < len(digits) && digits[end]-'0' <= 9 {
		end++
	}
	n, err := strconv.Atoi(string(digits[:end]))
	if err != nil {
		return 0
	}
	return n
}

// says tells whether one of the marks is in p, with a text that is not empty where it begins one.
func says(p []byte, marks []string) bool {
	for _, mark := range marks {
		for rest := p; ; {
			i := bytes.Index(rest, []byte(mark))
			if i < 0 {
				break
			}
			rest = rest[i+len(mark):]
			if mark[len(mark)-1] != '"' || len(rest) > 0 && rest[0] != '"' {
				return true
			}
		}
	}
	return false
}

// Verdicts judges a whole answer of status 200 to the request e. context is how many tokens the model's context
// holds, 0 if that is not known.
func (w *Watch) Verdicts(e Envelope, context int) []Verdict {
	if e.Empty {
		return nil
	}
	var all []Verdict
	if prompt := w.promptTokens(); prompt > 0 && truncated(prompt, context, e) {
		all = append(all, PromptTruncated)
	}
	switch {
	case w.content:
	case w.thinking:
		all = append(all, ThinkingAteOutput)
	case w.length:
		all = append(all, EmptyByLength)
	}
	return all
}

// truncated tells whether the prompt was cut, as far as numbers show it without a false alarm.
//
// Up to v0.24 a prompt that is too long is cut to exactly the context (runner/ollamarunner). From v0.30 on one that
// does not fit into the context less one token is cut to half of what num_keep leaves (llm.contextShiftPromptLimit),
// a number that an ordinary prompt has by chance once in thousands of times; that it also is so long that it can
// not have fitted makes it certain enough. Chats lose whole messages before that, which leaves no mark but a
// prompt with far more text than its tokens can hold.
func truncated(prompt, context int, e Envelope) bool {
	long := context > 0 && len(e.content) >= 3*context
	switch {
	case context > 0 && prompt >= context && e.Inputs <= 1:
		return true
	case long && e.Inputs == 1 && prompt >= context-2: // an embedding, less the marks of its ends
		return true
	case long && e.Inputs == 0 && (prompt == shiftLimit(context, 4) || prompt == shiftLimit(context, 5)):
		return true
	}
	return len(e.content) > leastText && len(e.content)/textPerToken > prompt && !bytes.Contains(e.content, []byte("image"))
}

const (
	// textPerToken is more bytes of JSON text than a token stands for on average: 4 in English, 6 for Asian
	// characters written as \uXXXX, 10 in code with deep indentation.
	textPerToken = 16
	leastText    = 32 << 10 // bytes; no context is smaller than what this much text takes
)

// shiftLimit is what v0.30 and later leave of a prompt that is too long; keep is num_keep, 4 by default, and one
// more where the model has a token for the beginning.
func shiftLimit(context, keep int) int { return context - max((context-keep)/2, 1) }
