#!/bin/sh
# The demo: a repository onto a cluster, a second commit, and what it takes to notice that there is nothing to do.
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
for tool in kubectl kubectl-gitops kubectl-gitops-sync sops age-keygen git; do
	command -v "$tool" >/dev/null || fail "$tool is not on PATH; run: make demo"
done
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -eq 1 ]; then
	mkdir -p "$1"
	dir=$(cd "$1" && pwd)
	[ ! -e "$dir/repo" ] || fail "$dir/repo exists already; name another directory"
else
	dir=$(mktemp -d "${TMPDIR:-/tmp}/kubectl-gitops-demo.XXXXXX")
	# The signals first end the command that runs, which says what it did; then this shell.
	trap 'cd / && rm -rf "$dir"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
fi

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

heading "A repository: three services, their secrets sealed to a new key"
sh "$here/demo-repo.sh" "$dir"
cd "$dir/repo"
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
shown "kubectl gitops sync --path clusters/vps"
shown "kubectl get deployment api-gateway -n app -o jsonpath='{..image}{\"\\n\"}'"

heading "Nothing new: nothing is written"
shown "kubectl gitops sync --path clusters/vps"

heading "What to try next"
if [ $# -eq 1 ]; then
	cat <<EOF
The repository and its key stay in $dir. Edit, commit, and sync again:

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
