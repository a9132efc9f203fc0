#!/bin/sh
# Plays a checkout of this repository for the pages that a test runs. That test is run by make, of what make has built, so
# nothing is built or tested once more: it is looked whether there is what a page says.
#
#   checkout.sh checkout DIR [URL]   DIR is the repository, by links, with what is in bin/; git finds it at URL
#   checkout.sh make TARGET…         wants the target; release puts dist/ there, which was made before: $DIST
#   checkout.sh go test ARG…         wants the packages, tests and scripts that are named
#   checkout.sh devcluster up -- …   runs the command, with no cluster
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
fail() {
	echo "checkout.sh: $*" >&2
	exit 64
}

# gotest looks for what go test is to run.
gotest() {
	packages=
	while [ $# -gt 0 ]; do
		case "$1" in
		./*)
			[ -n "$(ls "$root/$1"/*_test.go)" ] || exit 1
			packages="$packages $root/$1"
			;;
		-run | -fuzz)
			name=${2%%/*} part=${2#"${2%%/*}"} # TestX, and /y of TestX/y
			[ "$name" = '^$' ] || grep -qE "^func $name[A-Za-z]*\(" $(ls ${packages:-"$root"}/*_test.go) || fail "no test $name in$packages"
			case "$name$part" in
			TestScripts/*) [ -n "$(ls "$root/testdata/script$part"*.txtar)" ] || exit 1 ;;
			TestPages/*) [ -f "$root/docs$part.md" ] || fail "no page $part" ;;
			esac
			shift
			;;
		-update | -v) ;;
		*) fail "go test $1 is not played" ;;
		esac
		shift
	done
}

what=$1
shift
case "$what $*" in
"checkout "*)
	mkdir -p "$1/bin"
	for file in "$root"/* "$root"/bin/*; do
		to=$1${file#"$root"}
		[ -e "$to" ] || ln -s "$file" "$to"
	done
	rm -rf "$1/dist" "$1/bin/devcluster"
	printf '#!/bin/sh\nexec sh %s/testdata/checkout.sh devcluster "$@"\n' "$root" >"$1/bin/devcluster"
	chmod +x "$1/bin/devcluster"
	if [ $# -eq 2 ]; then
		git -C "$1" init -q
		git -C "$1" add .
		git -C "$1" commit -q -m "by links"
		git config --global "url.$(cd "$1" && pwd).insteadOf" "$2"
	fi
	;;
"make release "*) "$MAKE" -n "$@" >/dev/null && ln -s "$DIST" dist ;;
"make "*) "$MAKE" -n "$@" >/dev/null ;;
"go test "*)
	shift
	gotest "$@"
	;;
"devcluster up -- "*)
	shift 2
	exec "$@"
	;;
*) fail "not played: $what $*" ;;
esac
