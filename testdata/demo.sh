#!/bin/sh
# The demo: a repository onto a cluster, a second commit, what it takes to notice that there is nothing to do, and three
# images that are pushed and become a rollout.
#
# usage: demo.sh [DIR], on a devcluster: bin/devcluster up -- sh testdata/demo.sh (which is make demo)
#
# With DIR the repository and its age key stay there, DIR/repo and DIR/age.key, for you to play with. It applies to
# whatever KUBECONFIG names, so it runs where a devcluster has set that, and nowhere else.
set -eu

fail() {
	echo "demo: $*" >&2
	exit 1
}

[ $# -le 1 ] || fail "usage: demo.sh [DIR]"
[ -n "${DEVCLUSTER-}" ] || fail "this is for a devcluster, not for a cluster of yours; run: make demo"
for tool in kubectl kubectl-gitops kubectl-gitops-sync kubectl-gitops-image sops age-keygen git crane demo-registry; do
	command -v "$tool" >/dev/null || fail "$tool is not on PATH; run: make demo"
done
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -eq 1 ]; then
	mkdir -p "$1"
	dir=$(cd "$1" && pwd)
	trap 'stop_registry' EXIT
	[ ! -e "$dir/repo" ] || fail "$dir/repo exists already; name another directory"
else
	dir=$(mktemp -d "${TMPDIR:-/tmp}/kubectl-gitops-demo.XXXXXX")
	# The signals first end the command that runs, which says what it did; then this shell.
	trap 'stop_registry; cd / && rm -rf "$dir"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
fi

registry=
stop_registry() { [ -z "$registry" ] || kill "$registry" 2>/dev/null || :; }

bold='' green='' off=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-dumb}" != dumb ]; then
	esc=$(printf '\033')
	bold="$esc[1m" green="$esc[1;32m" off="$esc[0m"
fi
DEMO_SHOW="$green\$$off $bold%s$off\n"
export DEMO_SHOW

heading() { printf '\n%s%s%s\n\n' "$bold" "$*" "$off"; }

# shown prints a command as one would type it, and runs it.
shown() {
	# shellcheck disable=SC2059 # the format is ours
	printf "$DEMO_SHOW" "$1"
	eval "$1"
}

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
unset SOPS_AGE_KEY SOPS_AGE_KEY_CMD SOPS_AGE_RECIPIENTS
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@example.com GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@example.com

# The registry of act three: it wants a password, which is made now, and sealed into the repository.
REGISTRY_PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export REGISTRY_PASSWORD DOCKER_CONFIG="$dir/docker"
mkdir -p "$dir/docker"
demo-registry -user shop -at "$dir/docker/at" &
registry=$!
until [ -s "$dir/docker/at" ]; do
	kill -0 "$registry" 2>/dev/null || fail "the registry did not start"
	sleep 0.1
done
DEMO_REGISTRY=$(cat "$dir/docker/at")
export DEMO_REGISTRY
printf %s "$REGISTRY_PASSWORD" | crane auth login -u shop --password-stdin "$DEMO_REGISTRY" 2>/dev/null

# push puts an image with nothing in it but its own name into the registry.
push() {
	printf '%s\n' "$1" >"$dir/docker/name"
	tar -cf "$dir/docker/layer.tar" -C "$dir/docker" name
	crane append --new_layer "$dir/docker/layer.tar" --new_tag "$1" >"$dir/docker/log" 2>&1 || { cat "$dir/docker/log" >&2 && return 1; }
}

heading "A repository: three services, their secrets sealed to a new key"
sh "$here/demo-repo.sh" "$dir"
git clone -q --bare "$dir/repo" "$dir/shop.git"
cd "$dir/repo"
# Where the GitRepository is, for everybody who asks this clone.
git config url."file://$dir/shop.git".insteadOf https://git.example.com/shop/gitops
git remote add origin https://git.example.com/shop/gitops
git push -q -u origin main
[ -n "$off" ] || git config color.ui never
shown "git log --oneline"
shown "ls"
shown "export SOPS_AGE_KEY_FILE=../age.key"

heading "One command makes the cluster what the repository says"
shown "kubectl gitops sync --path clusters/vps"
shown "kubectl get deployments,secrets -n app"
shown "kubectl get clusterissuers,middlewares -A -o name"

heading "A new image, and one file less"
deployment=apps/api-gateway/deployment.yaml kustomization=apps/api-gateway/kustomization.yaml
sed 's/main-3f2c9d1-1755590400/main-b7e04a5-1755676800/' $deployment >../edit && cat ../edit >$deployment
sed '/flags.yaml/d' $kustomization >../edit && cat ../edit >$kustomization
rm ../edit
git rm -q apps/api-gateway/flags.yaml
git add -A
shown "git commit -q -m 'api-gateway: new image; the launch is over'"
shown "git show --oneline --stat"
git push -q
shown "kubectl gitops sync --path clusters/vps"
shown "kubectl get deployment api-gateway -n app -o jsonpath='{..image}{\"\\n\"}'"

heading "Nothing new: nothing is written"
shown "kubectl gitops sync --path clusters/vps"

heading "Three images are pushed: one commit, one rollout (push is crane append)"
for image in api-gateway:main-b7e04a5-1755676800 api-generation:main-a41b07e-1755504000 api-enrichment:main-90cd2f8-1755417600 \
	api-gateway:latest; do
	push "$DEMO_REGISTRY/shop/$image"
done
for image in api-gateway:main-0c9d7f3-1755763200 api-generation:main-e52fa18-1755763260 api-enrichment:main-77b1c0e-1755763320; do
	shown "push $DEMO_REGISTRY/shop/$image"
done
shown "kubectl gitops image policy --explain api-gateway"
shown "kubectl gitops image update"
shown "git pull -q && git show --format='%h %an: %s' --stat"
shown "kubectl gitops sync --path clusters/vps"
shown "kubectl get deployments -n app -o custom-columns=NAME:.metadata.name,IMAGE:..image"
shown "kubectl gitops image update"

heading "What to try next"
if [ $# -eq 1 ]; then
	cat <<EOF
The repository and its key stay in $dir; the registry does not. Edit, commit, and sync again:

  cd $dir/repo && export SOPS_AGE_KEY_FILE=$dir/age.key
  kubectl gitops sync --path clusters/vps --dry-run
EOF
else
	cat <<EOF
A shell with a cluster of its own, and in it this repository to play with:

  bin/devcluster up -- bash
  sh testdata/demo.sh ~/gitops-demo
EOF
fi
cat <<EOF

Your own repository and cluster; this writes nothing:

  kubectl gitops sync --path clusters/NAME --dry-run
EOF
