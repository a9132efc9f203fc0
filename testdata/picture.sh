#!/bin/sh
# What the picture in the README shows, with the colors of a terminal: somebody scaled by hand, somebody else committed a
# new image; the diff tells them apart, and a sync makes the cluster what Git says.
#
# usage: picture.sh, on a devcluster: make picture
set -eu

fail() {
	echo "picture: $*" >&2
	exit 1
}

[ -n "${DEVCLUSTER-}" ] || fail "this is for a devcluster, not for a cluster of yours; run: make picture"
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/kubectl-gitops-picture.XXXXXX")
trap 'cd / && rm -rf "$dir"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@example.com GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@example.com

# Silence until the cluster has what the repository says, Flux's kinds included.
quietly() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2 && fail "$*"; }; }

cp "$KUBECONFIG" "$dir/kubeconfig"
export KUBECONFIG="$dir/kubeconfig"
quietly kubectl config rename-context "$(kubectl config current-context)" vps
for controller in kustomize-controller source-controller image-reflector-controller image-automation-controller; do
	version=$(cd "$here" && go list -m -f '{{.Version}}' "github.com/fluxcd/$controller/api")
	module=$(cd "$dir" && go mod download -json "github.com/fluxcd/$controller@$version" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
	quietly kubectl apply --server-side -f "$module/config/crd/bases"
done
quietly kubectl create namespace flux-system
until kubectl wait --for=condition=Established crd --all >/dev/null 2>&1; do sleep 0.2; done # it gives up on one without conditions
quietly sh "$here/demo-repo.sh" "$dir"
export SOPS_AGE_KEY_FILE="$dir/age.key"
cd "$dir/repo"
quietly kubectl gitops sync
quietly kubectl scale -n app deployment/api-generation --replicas=3
sed 's/main-3f2c9d1-1755590400/main-b7e04a5-1755676800/' apps/api-gateway/deployment.yaml >"$dir/edit"
cat "$dir/edit" >apps/api-gateway/deployment.yaml
quietly git commit -q -a -m 'api-gateway: new image'

shown() {
	printf '\033[1;32m$\033[0m \033[1m%s\033[0m\n' "$1"
	CLICOLOR_FORCE=1 sh -c "$1" 2>&1 || [ $? -eq 1 ] # a diff that finds something
	echo
}

shown 'kubectl gitops diff'
shown 'kubectl gitops sync'
