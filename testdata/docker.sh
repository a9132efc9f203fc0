#!/bin/sh
# Plays the docker of the pages in docs/ that a test runs, where there is no daemon: what is pushed is a real image in a
# real registry, made of the files of the folder; a Dockerfile is not executed.
#
#   docker login -u USER --password-stdin HOST
#   docker build -q -t IMAGE DIR
#   docker push -q IMAGE
#   docker run [--rm] [--user ID] [--read-only] [--tmpfs DIR] [-v FILE:TO:ro]… IMAGE ARG…
#
# What is run is the entry point of the image as it comes from the registry, with nothing in its environment but a home
# that is empty. An argument that names a mounted file gets the file; a URL is the one that it is to the caller's git.
set -eu

built=$HOME/.docker/built
mkdir -p "$built"
named() { printf %s "$1" | tr /: __; }

case "$*" in
"login -u "*" --password-stdin "*)
	crane auth login -u "$3" --password-stdin "$5" 2>/dev/null
	echo "Login Succeeded"
	;;
"build -q -t "*)
	[ -f "$5/Dockerfile" ] || { echo "ERROR: no Dockerfile in $5" >&2 && exit 1; }
	tar -cf "$built/$(named "$4").tar" --exclude .git -C "$5" .
	echo "sha256:$(sha256sum "$built/$(named "$4").tar" | cut -d ' ' -f 1)"
	;;
"push -q "*)
	crane append --new_layer "$built/$(named "$3").tar" --new_tag "$3" >/dev/null 2>&1
	echo "$3"
	;;
"run "*)
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
	mounts=
	shift
	while :; do
		case "$1" in
		--rm | --read-only) ;;
		--tmpfs | --user) shift ;;
		-v)
			mounts="$mounts $2"
			shift
			;;
		*) break ;;
		esac
		shift
	done
	mkdir "$root/tmp"
	crane export "$1" - | tar -xf - -C "$root"
	entry=$(crane config "$1" | sed 's/.*"Entrypoint":\["\([^"]*\)"\].*/\1/')
	shift
	n=$#
	for arg; do
		case "$arg" in https://*) arg=$(git ls-remote --get-url "$arg") ;; esac
		for mount in $mounts; do
			to=${mount#*:}
			[ "$arg" != "${to%:ro}" ] || arg=${mount%%:*}
		done
		set -- "$@" "$arg"
	done
	shift "$n"
	env -i HOME="$root/tmp" PATH=/usr/local/bin "$root$entry" "$@"
	;;
*)
	echo "docker.sh plays login, build, push and run, as its first lines say; not: docker $*" >&2
	exit 64
	;;
esac
