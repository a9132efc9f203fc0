#!/bin/sh
# Plays the docker of the pages in docs/ that a test runs, where there is no daemon: what is pushed is a real image in a
# real registry, made of the files of the folder; a Dockerfile is not executed.
#
#   docker login -u USER --password-stdin HOST
#   docker build -q -t IMAGE DIR
#   docker push -q IMAGE
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
*)
	echo "docker.sh plays login, build and push, as its first lines say; not: docker $*" >&2
	exit 64
	;;
esac
