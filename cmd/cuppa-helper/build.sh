#!/bin/sh
# Builds the helper to the path given, and writes its digest beside it, with .sum. The helper is static, and has one file of
# libcontainer replaced by the one in _overlay. For that a copy of
# libcontainer's module is made below .runc, and used by a go.mod that differs from ours in that alone.
set -eu
out=$(realpath -m "$1")
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
go mod download github.com/opencontainers/runc
runc=$(go list -m -f '{{.Dir}}' github.com/opencontainers/runc)
copy=$here/.runc/$(basename "$runc")
if [ ! -d "$copy" ]; then
	rm -rf "$here/.runc"
	mkdir -p "$here/.runc"
	cp -r "$runc" "$copy.new"
	chmod -R u+w "$copy.new"
	mv "$copy.new" "$copy"
fi
cp "$here/_overlay/seccomp.go" "$copy/libcontainer/seccomp/seccomp_unsupported.go"
cp go.sum "$here/.runc/helper.sum"
cp go.mod "$here/.runc/helper.mod"
go mod edit -replace "github.com/opencontainers/runc=$copy" "$here/.runc/helper.mod"
CGO_ENABLED=1 go build -modfile "$here/.runc/helper.mod" -trimpath -tags 'osusergo netgo' \
	-ldflags '-s -w -linkmode external -extldflags -static' -o "$out" ./cmd/cuppa-helper
sha256sum "$out" | cut -c1-16 >"$out.sum"
