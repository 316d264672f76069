package demo

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"corral/ollamatest"
)

// load is the work of a burst.
type load struct {
	model      string
	embedModel string // "" for none
	count      int
	scripted   bool    // the engine is ollamatest's: prompts say what they cost, answers can be checked to the word
	speed      float64 // scripted: how much faster than the times that prompts state
	weights    string  // scripted: id of the embedding model's weights
}

// The pace of the simulated engine before it is sped up: an 8B model with four slots on a GPU, and
// nomic-embed-text on the CPU beside it.
const (
	perToken  = 40 * time.Millisecond // of one slot: 25 tokens a second, 100 with four
	prefill   = 400 * time.Millisecond
	perText   = 480 * time.Millisecond
	minTokens = 60
	maxTokens = 260
	maxTexts  = 12
	minTexts  = 4
	// speed makes a minute there a second here.
	speed = 60
)

// embedShare is the part of the calls that embed: one in so many. Their server is done before the others: what
// they cost Ollama itself, an HTTP request for each text, should not slow the machine.
const embedShare = 10

// maxReply bounds an answer of a model that is not scripted.
const maxReply = 256

// call is one call of the burst.
type call struct {
	nth     int // among the calls of its kind
	embeds  bool
	body    []byte
	texts   []string      // what it embeds
	tokens  int           // scripted: length of its answer
	service time.Duration // scripted: how long it holds a slot
}

func (c *call) path() string {
	if c.embeds {
		return "/v1/embeddings"
	}
	return "/v1/chat/completions"
}

// calls are the same at each time.
func (l load) calls() []*call {
	calls, chats, embeds := make([]*call, 0, l.count), 0, 0
	for i := range l.count {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		if l.embedModel != "" && i%embedShare == embedShare-1 {
			calls = append(calls, l.embedding(embeds, rng))
			embeds++
			continue
		}
		calls = append(calls, l.chat(chats, rng))
		chats++
	}
	return calls
}

func (l load) chat(nth int, rng *rand.Rand) *call {
	c := &call{nth: nth}
	text := fmt.Sprintf("-Text-\nReport %d. %s\n-Output-", nth, prose(rng, 700))
	request := map[string]any{
		"model": l.model, "temperature": 0, "response_format": map[string]string{"type": "json_object"},
	}
	if l.scripted {
		c.tokens = minTokens + rng.IntN(maxTokens-minTokens+1)
		c.service = l.scaled(prefill + time.Duration(c.tokens)*perToken)
		text += fmt.Sprintf("\n[[say=%s tokens=%d prefill=%s each=%s]]", mark(nth), c.tokens, prefill, perToken)
	} else {
		request["max_tokens"] = maxReply
	}
	request["messages"] = []map[string]string{{"role": "system", "content": extraction}, {"role": "user", "content": text}}
	c.body = encode(request)
	return c
}

func (l load) embedding(nth int, rng *rand.Rand) *call {
	c := &call{nth: nth, embeds: true}
	for i := range minTexts + rng.IntN(maxTexts-minTexts+1) {
		text := fmt.Sprintf("Entity %d-%d: %s", nth, i, prose(rng, 120))
		if l.scripted {
			text += fmt.Sprintf(" [[embed=%s]]", perText)
			c.service += l.scaled(perText)
		}
		c.texts = append(c.texts, text)
	}
	c.body = encode(map[string]any{"model": l.embedModel, "input": c.texts, "encoding_format": "float"})
	return c
}

func (l load) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / l.speed) }

// describe says in a sentence what comes.
func (l load) describe(calls []*call, timeout time.Duration) string {
	embeds := 0
	for _, c := range calls {
		if c.embeds {
			embeds++
		}
	}
	what := fmt.Sprintf("%s calls to %s", number(len(calls)-embeds), l.model)
	if embeds > 0 {
		what += fmt.Sprintf(" and %s to %s", number(embeds), l.embedModel)
	}
	return fmt.Sprintf("A burst as GraphRAG fires it: %s, all at once, by clients that behave like the\n"+
		"OpenAI Python SDK: they give up after %s of silence and try again %d times.", what, seconds(timeout), sdkRetries)
}

// mark is the word that only the answer to this call begins with.
func mark(nth int) string { return fmt.Sprintf("call-%d", nth) }

// check tells whether an answer is right, and as far as can be known, this call's.
func (l load) check(c *call, answer []byte) error {
	if c.embeds {
		return l.checkVectors(c, answer)
	}
	var a struct {
		Choices []struct {
			Message struct{ Content *string }
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("the answer is not JSON: %w: %.200s", err, answer)
	}
	if len(a.Choices) != 1 || a.Choices[0].Message.Content == nil {
		return fmt.Errorf("the answer has no content: %.200s", answer)
	}
	if !l.scripted {
		return nil
	}
	var content struct{ Reply string }
	text := *a.Choices[0].Message.Content
	if err := json.Unmarshal([]byte(text), &content); err != nil {
		return fmt.Errorf("the content is not JSON: %w: %.200s", err, text)
	}
	if words := strings.Fields(content.Reply); len(words) != c.tokens || words[0] != mark(c.nth) {
		return fmt.Errorf("the answer is not that of %s with %d words: %.100s", mark(c.nth), c.tokens, content.Reply)
	}
	return nil
}

func (l load) checkVectors(c *call, answer []byte) error {
	var a struct {
		Data []struct {
			Index     int
			Embedding []float64
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("the answer is not JSON: %w: %.200s", err, answer)
	}
	if len(a.Data) != len(c.texts) {
		return fmt.Errorf("%d texts brought %d vectors", len(c.texts), len(a.Data))
	}
	for i, d := range a.Data {
		if d.Index != i || len(d.Embedding) == 0 {
			return fmt.Errorf("vector %d has index %d and %d values", i, d.Index, len(d.Embedding))
		}
		if l.scripted && !parallel(d.Embedding, ollamatest.Vector(l.weights, c.texts[i], len(d.Embedding))) {
			return fmt.Errorf("vector %d is not that of its text", i)
		}
	}
	return nil
}

// parallel says whether two vectors point the same way; Ollama changes their length.
func parallel(a []float64, b []float32) bool {
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * float64(b[i])
		aa += a[i] * a[i]
		bb += float64(b[i]) * float64(b[i])
	}
	return ab > 0.999*math.Sqrt(aa*bb)
}

// ideal is how fast the calls could be: every slot busy without a break, and the longest call last.
type ideal struct {
	known    bool
	slots    int           // for language
	work     time.Duration // of language, on all slots together
	longest  time.Duration
	generate time.Duration // work / slots + longest
	embed    time.Duration // of embeddings, on the one slot they have
}

func (i ideal) total() time.Duration { return max(i.generate, i.embed) }

func (st *stage) ideal(calls []*call) ideal {
	i := ideal{known: st.load.scripted, slots: numParallel * len(st.generate)}
	for _, c := range calls {
		if c.embeds {
			i.embed += c.service
			continue
		}
		i.work += c.service
		i.longest = max(i.longest, c.service)
	}
	i.generate = i.work/time.Duration(i.slots) + i.longest
	return i
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encode request: %w", err)) // maps of texts and numbers: cannot fail
	}
	return b
}

const extraction = `-Goal-
Given a text document that is potentially relevant to this activity and a list of entity types, identify all
entities of those types from the text and all relationships among the identified entities.
-Steps-
1. Identify all entities. For each one extract entity_name, entity_type (one of organization, person, geo, event)
and entity_description, a comprehensive description of its attributes and activities.
2. From the entities of step 1, identify all pairs (source_entity, target_entity) that are clearly related, with
relationship_description and relationship_strength.
3. Return the output in English as one JSON object with the lists "entities" and "relationships".`

// prose is about n bytes of sentences.
func prose(rng *rand.Rand, n int) string {
	who := []string{"The ministry", "Alice Marsh", "Northwind Shipping", "The harbour board", "Dr. Osei", "A local paper"}
	did := []string{"announced", "denied", "paid for", "opened", "delayed", "reported on", "sold its share of"}
	what := []string{"the new terminal", "a survey of the estuary", "the ferry line", "an inquiry", "two grain silos"}
	where := []string{"in Lowestoft", "near the old lock", "in Rotterdam", "at the spring fair", "off the coast"}
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %s %s %s in %d. ", pick(who), pick(did), pick(what), pick(where), 1950+rng.IntN(75))
	}
	return strings.TrimSpace(b.String())
}
