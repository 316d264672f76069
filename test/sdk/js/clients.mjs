// Asks one endpoint with the official JavaScript clients of Ollama, OpenAI and Anthropic. One line of JSON for each thing
// tried: test/e2e/sdk_test.go compares what they see with and without Corral.
//
// Usage: clients.mjs BASE
import Anthropic from '@anthropic-ai/sdk';
import { Ollama } from 'ollama';
import OpenAI from 'openai';

const base = process.argv[2];
const said = '[[tokens=3 say=hello]]';
const object = '[[tokens=1 say={"x":"y"}]]';
const call = '[[tokens=1 say={"name":"weather","parameters":{"city":"Rome"}}]]';
const stalls = '[[tokens=9 stall=2]]';
const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
const schema = { type: 'object', properties: { x: { type: 'string' } }, required: ['x'] };
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tool = { type: 'function', function: { name: 'weather', description: 'of a city', parameters } };
const user = (content) => [{ role: 'user', content }];

async function joined(pieces, text) {
  let all = '';
  let count = 0;
  for await (const piece of pieces) {
    all += text(piece) ?? '';
    count++;
  }
  return `${all} in ${count}`;
}

function ollamaFeatures() {
  const c = new Ollama({ host: base });
  const chat = async (more) => (await c.chat({ model: 'm', messages: user(said), ...more })).message;
  return {
    chat: async () => (await chat()).content,
    stream: async () => joined(await c.chat({ model: 'm', messages: user(said), stream: true }), (p) => p.message.content),
    tools: async () => JSON.stringify((await chat({ model: 'tooled', messages: user(call), tools: [tool] })).tool_calls[0].function),
    json: async () => (await chat({ messages: user(object), format: 'json' })).content,
    schema: async () => (await chat({ messages: user(object), format: schema })).content,
    vision: async () => (await chat({ messages: [{ role: 'user', content: said, images: [pixel] }] })).content,
    embeddings: async () => JSON.stringify((await c.embed({ model: 'emb', input: ['a', 'b'] })).embeddings[1].slice(0, 2)),
    error: async () => chat({ model: 'nope' }),
    list: async () => (await c.list()).models.map((m) => m.name).sort().join(' '),
    show: async () => (await c.show({ model: 'm' })).details.family,
    cancel: async () => {
      const stream = await c.chat({ model: 'm', messages: user(stalls), stream: true });
      for await (const _ of stream) break;
      stream.abort();
      return 'cancelled';
    },
  };
}

function openaiFeatures() {
  const c = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none', maxRetries: 0 });
  const chat = async (more) => (await c.chat.completions.create({ model: 'm', messages: user(said), ...more })).choices[0];
  const image = [{ type: 'text', text: said }, { type: 'image_url', image_url: { url: `data:image/png;base64,${pixel}` } }];
  return {
    chat: async () => { const r = await chat(); return `${r.message.content} ${r.finish_reason}`; },
    stream: async () => joined(await c.chat.completions.create({ model: 'm', messages: user(said), stream: true }), (p) => p.choices[0]?.delta.content),
    tools: async () => { const f = (await chat({ model: 'tooled', messages: user(call), tools: [tool] })).message.tool_calls[0].function; return `${f.name} ${f.arguments}`; },
    json: async () => (await chat({ messages: user(object), response_format: { type: 'json_object' } })).message.content,
    schema: async () => (await chat({ messages: user(object), response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } })).message.content,
    vision: async () => (await chat({ messages: user(image) })).message.content,
    responses: async () => (await c.responses.create({ model: 'm', input: said })).output_text,
    embeddings: async () => JSON.stringify((await c.embeddings.create({ model: 'emb', input: ['a', 'b'] })).data[1].embedding.slice(0, 2)),
    error: async () => chat({ model: 'nope' }),
    list: async () => (await c.models.list()).data.map((m) => m.id).sort().join(' '),
    show: async () => (await c.models.retrieve('m')).id,
    cancel: async () => {
      const stream = await c.chat.completions.create({ model: 'm', messages: user(stalls), stream: true });
      for await (const _ of stream) break;
      stream.controller.abort();
      return 'cancelled';
    },
  };
}

function anthropicFeatures() {
  const c = new Anthropic({ baseURL: base, apiKey: 'none', maxRetries: 0 });
  const message = (more) => c.messages.create({ model: 'm', max_tokens: 50, messages: user(said), ...more });
  const image = [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: pixel } }, { type: 'text', text: said }];
  return {
    chat: async () => (await message()).content[0].text,
    stream: async () => joined(await message({ stream: true }), (e) => e.delta?.text),
    tools: async () => {
      const tools = [{ name: 'weather', description: 'of a city', input_schema: parameters }];
      const use = (await message({ model: 'tooled', messages: user(call), tools })).content.find((b) => b.type === 'tool_use');
      return `${use.name} ${JSON.stringify(use.input)}`;
    },
    vision: async () => (await message({ messages: user(image) })).content[0].text,
    error: async () => {
      try {
        return await message({ model: 'nope' });
      } catch (e) { // its text has an id in it
        return `raises ${e.name} ${e.status}`;
      }
    },
    cancel: async () => {
      const stream = await message({ messages: user(stalls), stream: true });
      for await (const _ of stream) break;
      stream.controller.abort();
      return 'cancelled';
    },
  };
}

for (const [client, features] of Object.entries({
  ollama: ollamaFeatures(), openai: openaiFeatures(), '@anthropic-ai/sdk': anthropicFeatures(),
})) {
  for (const [feature, attempt] of Object.entries(features)) {
    let result;
    try {
      result = await attempt();
    } catch (e) {
      result = `${feature === 'error' ? 'raises ' : ''}${e.constructor.name}: ${e.message}`;
    }
    console.log(JSON.stringify({ client, feature, result: String(result).replaceAll(base, 'BASE') }));
  }
}
process.exit(0);
