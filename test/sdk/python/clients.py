"""Asks one endpoint with the official Python clients of Ollama, OpenAI and Anthropic, and the libraries that most
applications use on top of them. One line of JSON for each thing tried: test/e2e/sdk_test.go compares what they see with
and without Corral.

Usage: clients.py BASE
"""

import base64
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["ANONYMIZED_TELEMETRY"] = "False"

import anthropic
import litellm
import ollama
import openai
from langchain_ollama import ChatOllama, OllamaEmbeddings
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama as LlamaIndexOllama
from llama_index.core.llms import ChatMessage

BASE = sys.argv[1]
SAID = "[[tokens=3 say=hello]]"
OBJECT = '[[tokens=1 say={"x":"y"}]]'
CALL = '[[tokens=1 say={"name":"weather","parameters":{"city":"Rome"}}]]'
STALLS = "[[tokens=9 stall=2]]"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
FUNCTION = {
    "name": "weather",
    "description": "of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}

litellm.suppress_debug_info = True


def user(text):
    return [{"role": "user", "content": text}]


def joined(pieces):
    texts = [p for p in pieces]
    return f"{''.join(t or '' for t in texts)} in {len(texts)}"


def ollama_features():
    c = ollama.Client(host=BASE)

    def cancel():
        for _ in c.chat("m", user(STALLS), stream=True):
            break
        c._client.close()
        return "cancelled"

    def call():
        f = c.chat("tooled", user(CALL), tools=[TOOL]).message.tool_calls[0].function
        return f"{f.name} {json.dumps(f.arguments)}"

    return {
        "chat": lambda: c.chat("m", user(SAID)).message.content,
        "stream": lambda: joined(p.message.content for p in c.chat("m", user(SAID), stream=True)),
        "tools": call,
        "json": lambda: c.chat("m", user(OBJECT), format="json").message.content,
        "schema": lambda: c.chat("m", user(OBJECT), format=SCHEMA).message.content,
        "vision": lambda: c.chat("m", [{"role": "user", "content": SAID, "images": [base64.b64decode(PIXEL)]}]).message.content,
        "embeddings": lambda: str(c.embed("emb", ["a", "b"]).embeddings[1][:2]),
        "error": lambda: c.chat("nope", user(SAID)),
        "list": lambda: " ".join(sorted(m.model for m in c.list().models)),
        "show": lambda: f"{c.show('m').details.family} {c.show('m').capabilities}",
        "ps": lambda: " ".join(sorted(m.model for m in c.ps().models)),
        "cancel": cancel,
    }


def openai_features():
    c = openai.OpenAI(base_url=BASE + "/v1", api_key="none", max_retries=0)

    def chat(model="m", messages=None, **more):
        return c.chat.completions.create(model=model, messages=messages or user(SAID), **more).choices[0]

    def cancel():
        stream = c.chat.completions.create(model="m", messages=user(STALLS), stream=True)
        next(iter(stream))
        stream.close()
        return "cancelled"

    def call():
        f = chat("tooled", user(CALL), tools=[TOOL]).message.tool_calls[0].function
        return f"{f.name} {f.arguments}"

    image = [{"type": "text", "text": SAID}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PIXEL}}]
    return {
        "chat": lambda: chat().message.content + " " + chat().finish_reason,
        "stream": lambda: joined(p.choices[0].delta.content for p in c.chat.completions.create(model="m", messages=user(SAID), stream=True)),
        "tools": call,
        "json": lambda: chat(messages=user(OBJECT), response_format={"type": "json_object"}).message.content,
        "schema": lambda: chat(
            messages=user(OBJECT), response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        ).message.content,
        "vision": lambda: chat(messages=[{"role": "user", "content": image}]).message.content,
        "responses": lambda: c.responses.create(model="m", input=SAID).output_text,
        "embeddings": lambda: str(c.embeddings.create(model="emb", input=["a", "b"]).data[1].embedding[:2]),
        "error": lambda: chat("nope"),
        "list": lambda: " ".join(sorted(m.id for m in c.models.list())),
        "show": lambda: c.models.retrieve("m").id,
        "cancel": cancel,
    }


def anthropic_features():
    c = anthropic.Anthropic(base_url=BASE, api_key="none", max_retries=0)

    def message(model="m", content=SAID, **more):
        return c.messages.create(model=model, max_tokens=50, messages=user(content), **more)

    def streamed():
        with c.messages.stream(model="m", max_tokens=50, messages=user(SAID)) as s:
            return joined(s.text_stream)

    def call():
        tool = {"name": "weather", "description": "of a city", "input_schema": FUNCTION["parameters"]}
        use = [b for b in message("tooled", CALL, tools=[tool]).content if b.type == "tool_use"][0]
        return f"{use.name} {json.dumps(use.input)}"

    def cancel():
        with c.messages.stream(model="m", max_tokens=50, messages=user(STALLS)) as s:
            next(iter(s))
        return "cancelled"

    def error():
        try:
            message("nope")
        except anthropic.NotFoundError as e:  # its text has an id in it
            return f"raises {type(e).__name__} {e.status_code}"

    image = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "text", "text": SAID},
    ]
    return {
        "chat": lambda: message().content[0].text,
        "stream": streamed,
        "tools": call,
        "vision": lambda: message(content=image).content[0].text,
        "error": error,
        "cancel": cancel,
    }


def litellm_features():
    def chat(model, text=SAID, **more):
        return litellm.completion(model=model, messages=user(text), api_base=BASE, num_retries=0, **more)

    def text(r):
        return r.choices[0].message.content

    def via_openai(**more):
        return litellm.completion(model="openai/m", messages=user(SAID), api_base=BASE + "/v1", api_key="none", **more)

    return {
        "chat": lambda: text(chat("ollama_chat/m")),
        "chat through /v1": lambda: text(via_openai()),
        "stream": lambda: "".join(p.choices[0].delta.content or "" for p in chat("ollama_chat/m", stream=True)),
        "json": lambda: text(chat("ollama_chat/m", OBJECT, format="json")),
        "tools": lambda: chat("ollama_chat/tooled", CALL, tools=[TOOL]).choices[0].message.tool_calls[0].function.arguments,
        "embeddings": lambda: str(litellm.embedding(model="ollama/emb", input=["a"], api_base=BASE).data[0]["embedding"][:2]),
        "error": lambda: chat("ollama_chat/nope"),
    }


def langchain_features():
    def llm(model="m", **more):
        return ChatOllama(model=model, base_url=BASE, **more)

    embed = OllamaEmbeddings(model="emb", base_url=BASE)
    return {
        "chat": lambda: llm().invoke(SAID).content,
        "stream": lambda: "".join(p.content for p in llm().stream(SAID)),
        "tools": lambda: json.dumps(llm("tooled").bind_tools([TOOL]).invoke(CALL).tool_calls[0]["args"]),
        "json": lambda: llm(format="json").invoke(OBJECT).content,
        "schema": lambda: json.dumps(llm().with_structured_output(SCHEMA, method="json_schema").invoke(OBJECT)),
        "embeddings": lambda: str([v[:2] for v in embed.embed_documents(["a", "b"])]),
        "error": lambda: llm("nope").invoke(SAID),
    }


def llama_index_features():
    llm = LlamaIndexOllama(model="m", base_url=BASE, request_timeout=60)
    embed = OllamaEmbedding(model_name="emb", base_url=BASE)
    return {
        "chat": lambda: llm.chat([ChatMessage(role="user", content=SAID)]).message.content,
        "complete": lambda: llm.complete(SAID).text,
        "stream": lambda: [p.message.content for p in llm.stream_chat([ChatMessage(role="user", content=SAID)])][-1],
        "json": lambda: LlamaIndexOllama(model="m", base_url=BASE, json_mode=True).complete(OBJECT).text,
        "embeddings": lambda: str(embed.get_text_embedding("a")[:2]),
        "error": lambda: LlamaIndexOllama(model="nope", base_url=BASE).complete(SAID),
    }


for client, features in {
    "ollama": ollama_features(),
    "openai": openai_features(),
    "anthropic": anthropic_features(),
    "litellm": litellm_features(),
    "langchain-ollama": langchain_features(),
    "llama-index": llama_index_features(),
}.items():
    for feature, attempt in features.items():
        try:
            result = attempt()
        except Exception as e:
            raises = "raises " if feature == "error" else ""
            result = f"{raises}{type(e).__name__}: {e}"
        print(json.dumps({"client": client, "feature": feature, "result": str(result).replace(BASE, "BASE")}), flush=True)
