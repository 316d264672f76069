// Real clients of Ollama's, OpenAI's and Anthropic's APIs, as heartbeat_test.go runs them: see clients.py, which does the same.
//
// Usage: clients.mjs CORRAL DIRECT SECONDS
import Anthropic from '@anthropic-ai/sdk';
import axios from 'axios';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { Agent } from 'undici';

const [corral, direct] = process.argv.slice(2, 4);
const seconds = Number(process.argv[4]);
const timeout = 1000 * seconds;
const announced = { 'X-Stainless-Read-Timeout': String(seconds) }; // for clients that do not announce their timeout

// Node's own fetch, with its timeouts (300 s each) cut short.
const dispatcher = new Agent({ headersTimeout: timeout, bodyTimeout: timeout });
const quickFetch = (url, init = {}) => fetch(url, { ...init, dispatcher });

const messages = (prompt) => [{ role: 'user', content: prompt }];
const json = (body) => ({
  method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...announced },
});

async function nodeFetch(base, prompt) {
  const r = await quickFetch(`${base}/v1/chat/completions`, json({ model: 'm', messages: messages(prompt) }));
  if (!r.ok) throw new Error(`status ${r.status}`);
  return (await r.json()).choices[0].message.content;
}

async function axiosPlain(base, prompt) {
  const body = { model: 'm', messages: messages(prompt), stream: false };
  const r = await axios.post(`${base}/api/chat`, body, { timeout, headers: announced });
  return r.data.message.content;
}

// openai announces a timeout that a request brings, not one of the client.
const openai = (base) => new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none', maxRetries: 0, fetch: quickFetch });

async function openaiPlain(base, prompt) {
  const r = await openai(base).chat.completions.create({ model: 'm', messages: messages(prompt) }, { timeout });
  return r.choices[0].message.content;
}

async function openaiStream(base, prompt) {
  let text = '';
  const body = { model: 'm', messages: messages(prompt), stream: true };
  for await (const c of await openai(base).chat.completions.create(body, { timeout })) {
    text += c.choices[0]?.delta?.content ?? '';
  }
  return text;
}

const anthropic = (base) => new Anthropic({ baseURL: base, apiKey: 'none', timeout, maxRetries: 0, fetch: quickFetch });

async function anthropicPlain(base, prompt) {
  const r = await anthropic(base).messages.create({ model: 'm', max_tokens: 50, messages: messages(prompt) });
  return r.content[0].text;
}

async function anthropicStream(base, prompt) {
  let text = '';
  const stream = anthropic(base).messages.stream({ model: 'm', max_tokens: 50, messages: messages(prompt) });
  stream.on('text', (t) => { text += t; });
  await stream.finalMessage();
  return text;
}

const ollama = (base) => new Ollama({ host: base, fetch: quickFetch, headers: announced });

async function ollamaPlain(base, prompt) {
  return (await ollama(base).chat({ model: 'm', messages: messages(prompt) })).message.content;
}

async function ollamaStream(base, prompt) {
  let text = '';
  for await (const part of await ollama(base).chat({ model: 'm', messages: messages(prompt), stream: true })) {
    text += part.message.content;
  }
  return text;
}

const clients = [nodeFetch, axiosPlain, openaiPlain, openaiStream, anthropicPlain, anthropicStream, ollamaPlain, ollamaStream];
const tell = (line) => console.log(JSON.stringify(line));

async function run(client, name, base, prompt) {
  try {
    tell({ client: client.name, case: name, answer: await client(base, prompt) });
  } catch (e) {
    tell({ client: client.name, case: name, error: `${e.name}: ${e.message} ${e.cause ?? ''}`.slice(0, 300) });
  }
}

tell({ requests: 2 * clients.length });
await Promise.all(clients.flatMap((client) => {
  const say = `[[tokens=3 say=node-${client.name}.]]`;
  return [
    run(client, 'answered', corral, say),
    run(client, 'failed', corral, '[[fail]]'),
    run(client, 'direct', direct, say),
  ];
}));
process.exit(0); // idle connections would hold it for seconds
