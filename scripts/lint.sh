#!/usr/bin/env bash
# Checks what a reviewer should not have to: formatting, go vet, and golangci-lint with .golangci.yml. The linter is
# built once into .cache/bin, under its version, so that another version here builds it anew.
set -euo pipefail

version=v2.15.0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$PWD/.cache/bin
linter=$bin/golangci-lint-$version

unformatted=$(gofmt -l -- */)
if [[ -n $unformatted ]]; then
	printf 'not formatted, run gofmt -w on:\n%s\n' "$unformatted" >&2
	exit 1
fi

for script in scripts/*.sh .ci/run; do
	bash -n "$script"
done

go vet ./...
go vet -tags e2e ./...

if [[ ! -x $linter ]]; then
	echo "building golangci-lint $version, about a minute ..." >&2
	GOFLAGS='' GOBIN=$bin go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
	mv -f "$bin/golangci-lint" "$linter"
fi
"$linter" run "$@"
