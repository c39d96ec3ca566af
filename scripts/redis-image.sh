#!/bin/bash
# Makes the image "redis:latest" from Debian's packages, for machines that reach no registry.
#
#   scripts/redis-image.sh [OUT.tar]     (default: redis.tar in the cache folder; the path is printed)
#
# Needs apt's package lists and, the first time, a Debian mirror; neither root nor a container engine. The packages stay in
# ${XDG_CACHE_HOME:-~/.cache}/cuppa/debs. The same packages give the same bytes. Load it with: cuppa image load -i OUT.tar
set -euo pipefail
export LC_ALL=C
umask 022

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cuppa
out=${1:-$cache/redis.tar}
case $(dpkg --print-architecture) in
amd64) arch=amd64 triplet=x86_64-linux-gnu ;;
arm64) arch=arm64 triplet=aarch64-linux-gnu ;;
*) echo "redis-image: no support for $(dpkg --print-architecture)" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache/debs" "$work"/{debs,root} "$(dirname "$out")"

# packages prints redis, a shell, and every library package they depend on, whatever their depth.
packages() {
	apt-cache depends --recurse --no-pre-depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
		redis-tools dash libc6 | awk '
		/^[^ ]/ { from = $1; next }
		$1 ~ /Depends:$/ && $2 ~ /^lib/ { needs[from] = needs[from] " " $2 }
		function take(p,   i, n, list) {
			if (p in taken) return
			taken[p] = 1; print p
			n = split(needs[p], list, " ")
			for (i = 1; i <= n; i++) take(list[i])
		}
		END { take("redis-tools"); take("dash"); take("libc6") }'
}

if ! apt-cache show redis-tools >/dev/null 2>&1; then
	echo "redis-image: apt does not know redis-tools: run 'apt-get update' first" >&2
	exit 1
fi
mapfile -t names < <(packages)

# Fetch what the cache lacks, then unpack everything into one staging folder.
mapfile -t uris < <(apt-get download --print-uris "${names[@]}" | tr -d "'")
missing=()
for i in "${!uris[@]}"; do
	read -r _ file _ <<<"${uris[$i]}"
	[[ -s $cache/debs/$file ]] || missing+=("${file%%_*}")
done
if ((${#missing[@]})); then
	(cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download "${missing[@]}")
fi
for uri in "${uris[@]}"; do
	read -r _ file _ <<<"$uri"
	dpkg-deb -x "$cache/debs/$file" "$work/debs"
done

# Only what the programs really load goes into the image: their loader says what that is, run on the staging folder.
stage=$work/debs root=$work/root
libs=$stage/lib/$triplet:$stage/usr/lib/$triplet
loader=$(find "$stage/lib/$triplet" "$stage/usr/lib/$triplet" -name 'ld-linux-*.so.*' -print -quit 2>/dev/null)
mkdir -p "$root"/{data,dev,etc,proc,run,sys,tmp,root} "$root/usr/bin" "$root/usr/lib/$triplet" "$root/usr/lib64"
ln -s usr/bin "$root/bin"
ln -s usr/bin "$root/sbin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
server=$(readlink -f "$stage/usr/bin/redis-check-rdb")
shell=$(find "$stage/bin/dash" "$stage/usr/bin/dash" -type f -print -quit 2>/dev/null || true)
install -m 755 "$server" "$root/usr/bin/redis-server"
install -m 755 "$stage/usr/bin/redis-cli" "$root/usr/bin/redis-cli"
install -m 755 "$shell" "$root/usr/bin/sh"
for program in "$server" "$stage/usr/bin/redis-cli" "$shell"; do
	"$loader" --library-path "$libs" --list "$program" | while read -r name arrow path _; do
		case $name in
		linux-vdso*) ;;
		/*) install -m 755 "$loader" "$root$name" ;; # the loader itself, where programs look for it
		*)
			[[ $arrow == '=>' && -f $path ]] || { echo "redis-image: $name was not found for $program" >&2 && exit 1; }
			install -m 644 "$path" "$root/usr/lib/$triplet/$name"
			;;
		esac
	done
done

printf 'root:x:0:0:root:/root:/bin/sh\nredis:x:999:999:redis:/data:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nredis:x:999:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
# Redis answers only on the loopback as long as it has no password, unless protected mode is off; in a container the network decides
# who reaches it. A configuration file must stay the first argument.
cat >"$root/usr/bin/docker-entrypoint.sh" <<'SCRIPT'
#!/bin/sh
case "$1" in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
	shift
	case "$1" in
	*.conf)
		conf=$1
		shift
		exec redis-server "$conf" --protected-mode no "$@"
		;;
	esac
	exec redis-server --protected-mode no "$@"
fi
exec "$@"
SCRIPT
chmod 755 "$root/usr/bin/docker-entrypoint.sh"

# Times come from the package, owners from here: nothing of this machine goes in.
when=$(stat -c %Y "$server")
pack() { tar --format=posix --pax-option=delete=atime,delete=ctime --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner "$@"; }
pack --exclude=./data -C "$root" -cf "$work/layer.tar" .
pack --owner=999 --group=999 -C "$root" -rf "$work/layer.tar" ./data
layer=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
version=$(dpkg-deb -f "$cache/debs/$(basename "$(printf '%s\n' "${uris[@]}" | awk '$2 ~ /^redis-tools_/ {print $2}')")" Version)
cat >"$work/config" <<JSON
{"architecture":"$arch","os":"linux","created":"$(date -u -d "@$when" +%Y-%m-%dT%H:%M:%SZ)","config":{"User":"999:999","WorkingDir":"/data","Env":["PATH=/usr/local/bin:/usr/bin:/bin"],"Entrypoint":["docker-entrypoint.sh"],"Cmd":["redis-server"],"ExposedPorts":{"6379/tcp":{}},"Volumes":{"/data":{}},"Labels":{"org.opencontainers.image.title":"redis","org.opencontainers.image.version":"$version"}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"$(date -u -d "@$when" +%Y-%m-%dT%H:%M:%SZ)","created_by":"redis-image.sh redis-tools $version"}]}
JSON
id=$(sha256sum <"$work/config" | cut -d' ' -f1)
mkdir "$work/image"
mv "$work/layer.tar" "$work/image/layer.tar"
mv "$work/config" "$work/image/$id.json"
printf '[{"Config":"%s.json","RepoTags":["redis:latest"],"Layers":["layer.tar"]}]\n' "$id" >"$work/image/manifest.json"
pack --mode=a+r -C "$work/image" -cf "$work/out.tar" manifest.json "$id.json" layer.tar
mv "$work/out.tar" "$out.part"
mv "$out.part" "$out"
echo "$out"
