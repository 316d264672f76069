#!/usr/bin/env bash
# Prints the path of an ollama binary that end-to-end tests and the demo run.
#
#   scripts/ollama.sh                    Ollama v0.33.0 whose engine is ours (ollamatest/llama-server)
#   scripts/ollama.sh --engine=native    Ollama v0.17.4, the generation before, which computes with its own engine
#
# $CORRAL_OLLAMA and $CORRAL_OLLAMA_NATIVE are used as they are when set. Otherwise Ollama is built once into the cache
# (${CORRAL_CACHE:-<repository>/.cache}); our engine is built at each call, so that it is never stale.
set -euo pipefail

engine=${1:---engine=simulated}
case $engine in
--engine=simulated) version=v0.33.0 given=${CORRAL_OLLAMA:-} takes='about a minute' ;;
--engine=native) version=v0.17.4 given=${CORRAL_OLLAMA_NATIVE:-} takes='about three minutes' ;;
*)
	echo "usage: scripts/ollama.sh [--engine=simulated|--engine=native]" >&2
	exit 2
	;;
esac

if [[ -n $given ]]; then
	printf '%s\n' "$given"
	exit 0
fi

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${CORRAL_CACHE:-$repo/.cache}
mkdir -p "$home"
home=$(cd "$home" && pwd)/ollama-$version
bin=$home/bin
mkdir -p "$bin"

# The native engine's sources come without three headers that they include: Debian has two, a Go module the third.
headers() {
	if ! printf '#include <%s>\n' nlohmann/json.hpp stb/stb_image.h | g++ -x c++ -fsyntax-only - 2>/dev/null; then
		if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
			echo "install g++ and the headers nlohmann/json.hpp and stb/stb_image.h first (Debian: nlohmann-json3-dev libstb-dev)" >&2
			exit 1
		fi
		apt-get update -q && apt-get install -qy --no-install-recommends g++ nlohmann-json3-dev libstb-dev
	fi >&2
	local malgo
	malgo=$(cd "$build" && GOFLAGS='' go mod download -json github.com/gen2brain/malgo@v0.11.24 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	mkdir -p "$build/include/miniaudio"
	cp "$malgo/miniaudio.h" "$build/include/miniaudio/"
	export CGO_ENABLED=1 CGO_CPPFLAGS="-I$build/include"
}

if [[ ! -x $bin/ollama ]]; then
	echo "building ollama $version, $takes ..." >&2
	# Into a folder of its own first: a build that is interrupted must not look like a finished one.
	build=$(mktemp -d "$home/build.XXXXXX")
	trap 'rm -rf "$build"' EXIT
	if [[ $engine == --engine=native ]]; then
		headers
	fi
	(cd "$build" && GOFLAGS='' GOBIN=$build go install "github.com/ollama/ollama@$version") >&2
	mv -f "$build/ollama" "$bin/ollama"
fi

if [[ $engine == --engine=simulated ]]; then
	# Renamed into place, since a running engine can not be written over.
	lib=$home/lib/ollama
	mkdir -p "$lib"
	(cd "$repo" && GOFLAGS='' go build -o "$lib/llama-server.$$" ./ollamatest/llama-server) >&2
	cp "$lib/llama-server.$$" "$lib/llama-quantize.$$"
	mv -f "$lib/llama-server.$$" "$lib/llama-server"
	mv -f "$lib/llama-quantize.$$" "$lib/llama-quantize"
fi

printf '%s\n' "$bin/ollama"
