#!/usr/bin/env bash
# Builds the archives of a release into dist/, with SHA256SUMS. The same commit, Go and tools give the same bytes:
# nothing depends on the folder, the time or the user. Needs GNU tar and python3.
#
#	scripts/dist.sh [package]     default ./cmd/corral
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
main=${1:-./cmd/corral}
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 946684800)}
export CGO_ENABLED=0 TZ=UTC

rm -rf dist
mkdir dist
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

for target in {linux,darwin,windows}/{amd64,arm64}; do
	os=${target%/*} arch=${target#*/}
	name=corral-$version-$os-$arch
	program=corral
	if [[ $os == windows ]]; then
		program=corral.exe
	fi
	echo "$name"
	mkdir "$stage/$name"
	GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" \
		-o "$stage/$name/$program" "$main"
	install -m 644 LICENSE README.md CHANGELOG.md "$stage/$name/"
	chmod 755 "$stage/$name" "$stage/$name/$program"
	touch -d "@$epoch" "$stage/$name"/* "$stage/$name"
	if [[ $os == windows ]]; then
		(cd "$stage" && python3 -m zipfile -c "$name.zip" "$name/")
		mv "$stage/$name.zip" dist/
	else
		tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
	fi
done

(cd dist && sha256sum corral-* >SHA256SUMS)
