"""Real clients of Ollama's, OpenAI's and Anthropic's APIs, as heartbeat_test.go runs them.

Usage: clients.py CORRAL DIRECT SECONDS

Each client asks three times at once, with a timeout of SECONDS between bytes: CORRAL for an answer (case
"answered"), CORRAL for one that fails (case "failed"), and DIRECT, whose slots are busy (case "direct"). One line of JSON on stdout
says how many requests Corral will get; then comes one for each case: what the client returned, or what it raised.
"""

import asyncio
import json
import sys
import threading

import aiohttp
import anthropic
import httpx
import ollama
import openai
import requests

CORRAL, DIRECT, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])
ANNOUNCED = {"X-Stainless-Read-Timeout": str(SECONDS)}  # for clients that do not announce their timeout


def body(prompt, **more):
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def bare_httpx(base, prompt):
    r = httpx.post(base + "/v1/chat/completions", json=body(prompt), timeout=SECONDS, headers=ANNOUNCED)
    r.raise_for_status()
    return r.json()["choices"][0]["message"]["content"]


def named_httpx(base, prompt):
    headers = ANNOUNCED | {"User-Agent": "my-app/1.0"}
    r = httpx.post(base + "/api/chat", json=body(prompt, stream=False), timeout=SECONDS, headers=headers)
    r.raise_for_status()
    return r.json()["message"]["content"]


def bare_requests(base, prompt):
    r = requests.post(base + "/api/generate", json={"model": "m", "prompt": prompt, "stream": False},
                      timeout=SECONDS, headers=ANNOUNCED)
    r.raise_for_status()
    return r.json()["response"]


def requests_stream(base, prompt):
    text = ""
    with requests.post(base + "/api/chat", json=body(prompt), timeout=SECONDS, headers=ANNOUNCED, stream=True) as r:
        r.raise_for_status()
        for line in r.iter_lines():
            part = json.loads(line)
            if "error" in part:
                raise RuntimeError(part["error"])
            text += part["message"]["content"]
    return text


def bare_aiohttp(base, prompt):
    async def run():
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=ANNOUNCED) as session:
            async with session.post(base + "/v1/completions", json={"model": "m", "prompt": prompt}) as r:
                r.raise_for_status()
                return (await r.json())["choices"][0]["text"]
    return asyncio.run(run())


def openai_client(kind, base):
    return kind(base_url=base + "/v1", api_key="none", timeout=SECONDS, max_retries=0)


def openai_plain(base, prompt):
    r = openai_client(openai.OpenAI, base).chat.completions.create(**body(prompt))
    return r.choices[0].message.content


def openai_stream(base, prompt):
    stream = openai_client(openai.OpenAI, base).chat.completions.create(**body(prompt, stream=True))
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def openai_responses_stream(base, prompt):
    text = ""
    for event in openai_client(openai.OpenAI, base).responses.create(model="m", input=prompt, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
    return text


def openai_async(base, prompt):
    async def run():
        async with openai_client(openai.AsyncOpenAI, base) as client:
            r = await client.chat.completions.create(**body(prompt))
            return r.choices[0].message.content
    return asyncio.run(run())


def openai_async_stream(base, prompt):
    async def run():
        async with openai_client(openai.AsyncOpenAI, base) as client:
            stream = await client.chat.completions.create(**body(prompt, stream=True))
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    return asyncio.run(run())


def anthropic_client(base):
    return anthropic.Anthropic(base_url=base, api_key="none", timeout=SECONDS, max_retries=0)


def anthropic_plain(base, prompt):
    return anthropic_client(base).messages.create(**body(prompt, max_tokens=50)).content[0].text


def anthropic_stream(base, prompt):
    with anthropic_client(base).messages.stream(**body(prompt, max_tokens=50)) as stream:
        return "".join(stream.text_stream)


def ollama_client(base):
    return ollama.Client(host=base, timeout=SECONDS, headers=ANNOUNCED)


def ollama_plain(base, prompt):
    return ollama_client(base).chat(**body(prompt)).message.content


def ollama_stream(base, prompt):
    return "".join(part.message.content for part in ollama_client(base).chat(**body(prompt, stream=True)))


CLIENTS = [
    bare_httpx, named_httpx, bare_requests, requests_stream, bare_aiohttp, openai_plain, openai_stream,
    openai_responses_stream, openai_async, openai_async_stream, anthropic_plain, anthropic_stream, ollama_plain,
    ollama_stream,
]


def main():
    lock = threading.Lock()

    def tell(**line):
        with lock:
            print(json.dumps(line), flush=True)

    def run(client, case, base, prompt):
        try:
            tell(client=client.__name__, case=case, answer=client(base, prompt))
        except Exception as e:  # whatever a client raises is what the test asks for
            tell(client=client.__name__, case=case, error=f"{type(e).__name__}: {e}"[:300])

    tell(requests=2 * len(CLIENTS))
    threads = []
    for client in CLIENTS:
        say = f"[[tokens=3 say=python-{client.__name__}.]]"
        for case in ("answered", CORRAL, say), ("failed", CORRAL, "[[fail]]"), ("direct", DIRECT, say):
            threads.append(threading.Thread(target=run, args=(client, *case)))
    for t in threads:
        t.start()
    for t in threads:
        t.join()


main()
