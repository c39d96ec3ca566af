#!/bin/sh
# Builds the front program to the path given, with linker flags. One file of compose-go is replaced by the one in _overlay, so that the machinery
# of JSON schemas is not linked. For that a copy of compose-go's module is made below .compose-go, and used by a go.mod that differs from ours in
# that alone.
# usage: cmd/cuppa/build.sh OUT [LDFLAGS]
#        cmd/cuppa/build.sh --deps          lists the packages that are linked
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
module=github.com/compose-spec/compose-go/v2
go mod download $module
from=$(go list -m -f '{{.Dir}}' $module)
work=$here/.compose-go
copy=$work/$(basename "$from")
if [ ! -d "$copy" ]; then
	rm -rf "$work"
	mkdir -p "$work"
	cp -r "$from" "$copy.new"
	chmod -R u+w "$copy.new"
	mv "$copy.new" "$copy"
fi
cmp -s "$here/_overlay/schema.go" "$copy/schema/schema.go" || cp "$here/_overlay/schema.go" "$copy/schema/schema.go"
cp go.sum "$work/front.sum"
cp go.mod "$work/front.mod"
go mod edit -replace "$module=$copy" "$work/front.mod"
export CGO_ENABLED=0
if [ "$1" = --deps ]; then
	go list -modfile "$work/front.mod" -tags front -deps ./cmd/cuppa
	exit
fi
go build -modfile "$work/front.mod" -tags front -ldflags "${2:-}" -o "$1" ./cmd/cuppa
