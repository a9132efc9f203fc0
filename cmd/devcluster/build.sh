#!/bin/sh
# Builds devcluster into OUT, or takes it from a cache when nothing that goes into it has changed.
#
# usage: build.sh OUT
#
# The first build compiles Kubernetes, which takes minutes; a build with Go's build cache filled links for half a
# minute. So the binary itself is kept, named by a hash of everything that determines it, in
# ${DEVCLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubectl-gitops/devcluster}. The three newest are kept.
set -eu

keep=3

fail() {
	echo "devcluster: $*" >&2
	exit 1
}

[ $# -eq 1 ] || fail "which file to build? usage: build.sh OUT"
case $1 in
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac
[ ! -d "$out" ] || fail "$out is a directory; name the file to build"
cd "$(dirname "$0")"
mkdir -p "$(dirname "$out")"

if command -v sha256sum >/dev/null; then
	hash() { sha256sum; }
else
	hash() { shasum -a 256; }
fi

# The key: names and contents of all inputs, the compiler and the target.
key=$(
	{
		go version
		go env GOOS GOARCH CGO_ENABLED GOAMD64 GOARM64
		find . -type f \( -name '*.go' ! -name '*_test.go' -o -name go.mod -o -name go.sum -o -name build.sh \) | LC_ALL=C sort |
			while read -r file; do
				echo "$file"
				cat "$file"
			done
	} | hash | cut -c1-12
)

cache=${DEVCLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubectl-gitops/devcluster}
entry=$cache/devcluster-$key

# Puts the entry at OUT in one step, because a devcluster may be running from there. A hard link costs nothing; where
# the cache is on another file system it is a copy.
place() {
	touch "$entry" # the newest are kept, and this one is in use
	if [ "$out" -ef "$entry" ]; then
		return
	fi
	rm -f "$out.$$"
	ln "$entry" "$out.$$" 2>/dev/null || cp -p "$entry" "$out.$$"
	mv -f "$out.$$" "$out"
}

if [ -x "$entry" ]; then
	place
	echo "devcluster: cached $key"
	exit 0
fi

# The components take their version from the linker; go.mod is the one place that has it.
version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2 } $1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' go.mod)
case $version in
v[0-9]*.[0-9]*.[0-9]*) ;;
*) fail "go.mod does not require k8s.io/kubernetes in a version like v1.2.3 (found '$version')" ;;
esac
major=${version#v}
major=${major%%.*}
minor=${version#v*.}
minor=${minor%%.*}
x=k8s.io/component-base/version
ldflags="-s -w -X $x.gitVersion=$version -X $x.gitMajor=$major -X $x.gitMinor=$minor -X $x.gitTreeState=clean"

echo "devcluster: building $key with Kubernetes $version, minutes the first time, under a minute later…"
mkdir -p "$cache" || fail "cannot write $cache; set DEVCLUSTER_CACHE to a directory that can be written"
temp=$cache/.build-$key.$$
trap 'rm -f "$temp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
go build -buildvcs=false -trimpath -ldflags "$ldflags" -o "$temp" . || fail "the build failed; see the lines above"
mv -f "$temp" "$entry"
place

# The newest entries stay. Builds that were killed leave .build-* behind.
find "$cache" -name '.build-*' -mmin +120 -exec rm -f {} +
ls -t "$cache" | tail -n +$((keep + 1)) | while read -r old; do
	rm -f "${cache:?}/$old"
done
