// A turn of a coding agent as Claude Code takes it: streamed, with tools and a cached system prompt. After a silence of
// SECONDS it gives up and asks once more, which would be a second execution.
//
// Usage: agent.mjs BASE SECONDS
//
// Prints one line of JSON: the text, the events in order, and how often it had to ask.
import Anthropic from '@anthropic-ai/sdk';

const [baseURL, seconds] = [process.argv[2], Number(process.argv[3])];
const client = new Anthropic({ baseURL, apiKey: 'none', maxRetries: 1, timeout: 1000 * seconds, defaultHeaders: { 'X-App': 'cli' } });
const turn = {
  model: 'agent',
  max_tokens: 32000,
  system: [{ type: 'text', text: 'You are an agent.', cache_control: { type: 'ephemeral' } }],
  messages: [{ role: 'user', content: [{ type: 'text', text: '[[tokens=3 say=done]]', cache_control: { type: 'ephemeral' } }] }],
  tools: [{
    name: 'Bash', description: 'Run a command.',
    input_schema: { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] },
  }],
  metadata: { user_id: 'user_1_session_1' },
};

let asked = 0;
let pings = 0;

// Counts what really goes over the wire, and cuts a stream that is silent for too long.
async function watched(url, init) {
  asked++;
  const silence = new AbortController();
  init.signal?.addEventListener('abort', () => silence.abort(init.signal.reason));
  let timer;
  const wake = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error(`silent for ${seconds} s`)), 1000 * seconds);
  };
  wake();
  const response = await fetch(url, { ...init, signal: silence.signal });
  const heard = new TransformStream({
    transform(chunk, out) {
      wake();
      pings += new TextDecoder().decode(chunk).split('event: ping').length - 1;
      out.enqueue(chunk);
    },
    flush() { clearTimeout(timer); },
  });
  return new Response(response.body.pipeThrough(heard), response);
}

const events = [];
let text = '';
try {
  const stream = client.withOptions({ fetch: watched }).beta.messages.stream({ ...turn, betas: ['interleaved-thinking-2025-05-14'] });
  for await (const event of stream) {
    if (events.at(-1) !== event.type) events.push(event.type);
    if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') text += event.delta.text;
  }
} catch (e) {
  events.push(`${e.name}: ${e.message}`);
}
console.log(JSON.stringify({ text, events, asked, pings }));
process.exit(0);
