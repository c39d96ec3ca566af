#!/bin/sh
# Builds the front program to the path given, with linker flags. Three modules of others are changed in copies below .modules, which a go.mod that
# differs from ours in that alone puts in their places:
#   - compose-go has the file in _overlay in place of its own, so that the machinery of JSON schemas is not linked;
#   - reference and go-digest have internal/lazyregexp in place of package regexp: a third of all that ran before main compiled their expressions.
# usage: cmd/cuppa/build.sh OUT [LDFLAGS]
#        cmd/cuppa/build.sh --deps          lists the packages that are linked
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
work=$here/.modules
compose=github.com/compose-spec/compose-go/v2
lazy="github.com/distribution/reference github.com/opencontainers/go-digest"

# copied MODULE: the folder of our copy of a module, which is made if need be.
copied() {
	from=$(go list -m -f '{{.Dir}}' "$1")
	copy=$work/$(echo "$1" | tr / -)@${from##*@}
	if [ ! -d "$copy" ]; then
		rm -rf "$copy.new"
		mkdir -p "$work"
		cp -r "$from" "$copy.new"
		chmod -R u+w "$copy.new"
		mv "$copy.new" "$copy"
	fi
	echo "$copy"
}

# put FILE TO: copies a file unless it is there: a newer time makes everything above it anew.
put() { cmp -s "$1" "$2" || cp "$1" "$2"; }

go mod download $compose $lazy
mkdir -p "$work"
cp go.sum "$work/front.sum"
cp go.mod "$work/front.mod"
copy=$(copied $compose)
put "$here/_overlay/schema.go" "$copy/schema/schema.go"
go mod edit -replace "$compose=$copy" "$work/front.mod"
for module in $lazy; do
	copy=$(copied "$module")
	mkdir -p "$copy/lazyregexp"
	put internal/lazyregexp/lazyregexp.go "$copy/lazyregexp/lazyregexp.go"
	for file in $(grep -l '^	"regexp"$' "$copy"/*.go); do
		sed -i "s|^	\"regexp\"\$|	regexp \"$module/lazyregexp\"|" "$file"
	done
	go mod edit -replace "$module=$copy" "$work/front.mod"
done
export CGO_ENABLED=0
if [ "$1" = --deps ]; then
	go list -modfile "$work/front.mod" -tags front -deps ./cmd/cuppa
	exit
fi
go build -modfile "$work/front.mod" -tags front -ldflags "${2:-}" -o "$1" ./cmd/cuppa
