#!/bin/sh
# Makes a Git repository of testdata/demo, with its secrets sealed.
#
# usage: demo-repo.sh [--seal-metadata] DIR
#
# DIR/repo is the repository: branch main, one commit, no remote. DIR/age.key is the age key that its secrets are
# sealed to, made now. --seal-metadata seals kind, apiVersion and metadata of security/kafka.sops.yaml too, as sops does
# where nobody tells it not to: Flux cannot read such a file, kubectl gitops can. git, sops and age-keygen are on PATH.
#
# DEMO_SHOW, where set, is a printf format that shows the commands that are worth seeing. DEMO_REGISTRY, where set, is the
# HOST:PORT that the images are in; who may pull there is then sealed into the repository, too, with the password in
# REGISTRY_PASSWORD.
set -eu

fail() {
	echo "demo-repo: $*" >&2
	exit 1
}

rule="encrypted_regex: ^(data|stringData)$"
kafka_rule=$rule
if [ "${1-}" = --seal-metadata ]; then
	kafka_rule="unencrypted_suffix: _unencrypted"
	shift
fi
[ $# -eq 1 ] || fail "usage: demo-repo.sh [--seal-metadata] DIR"
for tool in git sops age-keygen; do
	command -v "$tool" >/dev/null || fail "$tool is not on PATH; make tools builds sops and age-keygen into bin/"
done
[ ! -e "$1/repo" ] || fail "$1/repo exists already"
demo=$(cd "$(dirname "$0")" && pwd)/demo
mkdir -p "$1/repo"
cd "$1/repo"

show() {
	# shellcheck disable=SC2059 # the format is the caller's
	[ -z "${DEMO_SHOW-}" ] || printf "$DEMO_SHOW" "$*"
}

run() {
	show "$@"
	"$@"
}

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Neither the user's configuration nor a hook of it has a part in this, nor the repository that git may be running in.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@example.com GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@example.com

cp -R "$demo"/. .
git init -q
git symbolic-ref HEAD refs/heads/main

(umask 077 && run age-keygen -o ../age.key 2>/dev/null)
recipient=$(age-keygen -y ../age.key)
cat >.sops.yaml <<EOF
creation_rules:
  - path_regex: kafka\.sops\.yaml$
    $kafka_rule
    age: $recipient
  - path_regex: \.sops\.yaml$
    $rule
    age: $recipient
EOF

if [ -n "${DEMO_REGISTRY-}" ]; then
	for file in apps/*/deployment.yaml apps/*/imagerepository.yaml; do
		sed "s/registry\.example\.com/$DEMO_REGISTRY/" "$file" >../edit && cat ../edit >"$file"
	done
	for file in apps/*/imagerepository.yaml; do
		printf '  secretRef:\n    name: registry\n' >>"$file"
	done
	rm ../edit
	cat >>infra/namespaces.yaml <<EOF
---
apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
  annotations:
    kustomize.toolkit.fluxcd.io/prune: disabled
EOF
	cat >security/registry.template.yaml <<EOF
apiVersion: v1
kind: Secret
metadata:
  name: registry
  namespace: flux-system
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{"auths": {"$DEMO_REGISTRY": {"username": "shop", "password": "$REGISTRY_PASSWORD"}}}'
EOF
fi

for template in security/*.template.yaml; do
	sealed=${template%.template.yaml}.sops.yaml
	sed "s/@RANDOM@/$(random)/g" "$template" >"$sealed"
	rm "$template"
	run sops encrypt -i "$sealed"
done

git add -A
git commit -q -m 'the shop, on one VPS'
