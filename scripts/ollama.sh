#!/usr/bin/env bash
# Prints the path of an ollama binary whose engine is ours (ollamatest/llama-server): what end-to-end tests and
# the demo run. $CORRAL_OLLAMA is used as it is when set. Otherwise Ollama is built once into the cache
# (${CORRAL_CACHE:-<repository>/.cache}) and the engine at each call, so that it is never stale.
set -euo pipefail

version=v0.33.0

if [[ -n "${CORRAL_OLLAMA:-}" ]]; then
	printf '%s\n' "$CORRAL_OLLAMA"
	exit 0
fi

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${CORRAL_CACHE:-$repo/.cache}
mkdir -p "$home"
home=$(cd "$home" && pwd)/ollama-$version
bin=$home/bin
lib=$home/lib/ollama
mkdir -p "$bin" "$lib"

if [[ ! -x $bin/ollama ]]; then
	echo "building ollama $version, about a minute ..." >&2
	# Into a folder of its own first: a build that is interrupted must not look like a finished one.
	build=$(mktemp -d "$home/build.XXXXXX")
	trap 'rm -rf "$build"' EXIT
	(cd "$build" && GOFLAGS='' GOBIN=$build go install "github.com/ollama/ollama@$version") >&2
	mv -f "$build/ollama" "$bin/ollama"
fi

# Renamed into place, since a running engine can not be written over.
(cd "$repo" && GOFLAGS='' go build -o "$lib/llama-server.$$" ./ollamatest/llama-server) >&2
cp "$lib/llama-server.$$" "$lib/llama-quantize.$$"
mv -f "$lib/llama-server.$$" "$lib/llama-server"
mv -f "$lib/llama-quantize.$$" "$lib/llama-quantize"

printf '%s\n' "$bin/ollama"
